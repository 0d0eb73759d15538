import CLinux
import Glibc
import Platform

/// A record of a state that the creation of a container makes, from which the creation can be undone.
public struct MadeState: Equatable, Sendable {
    /// The state's ID.
    public var stateID: String
    /// The TPM instance's UUID, which distinguishes the state from one of the same ID that somebody else made.
    public var uuid: [UInt8]
    /// The user that makes it, as the state's lock names it.
    public var user: StateUser

    /// Creates the record of a state.
    public init(stateID: String, uuid: [UInt8], user: StateUser) {
        self.stateID = stateID
        self.uuid = uuid
        self.user = user
    }

    /// The record as a file in the lease's directory holds it.
    public var encoded: [UInt8] {
        var writer = ByteWriter()
        writer.write(uuid)
        writer.write(text: stateID)
        writer.write(user.encoded)
        return writer.bytes
    }

    /// Reads ``encoded``; returns nil if the bytes are anything else.
    public init?(_ bytes: [UInt8]) {
        var reader = ByteReader(bytes)
        guard let uuid = reader.read(count: StateFile.uuidSize), let stateID = reader.readText(),
            let rest = reader.read(count: reader.remaining), let user = StateUser(Array(rest))
        else { return nil }
        self.init(stateID: stateID, uuid: Array(uuid), user: user)
    }
}

extension StateStore {
    /// Removes the state and its record in the index, since its container was never created.
    ///
    /// Only the user that made the state and still holds its lock may call it. It needs the right to remove directories
    /// from the states directory, and none to rename: a right to rename one directory there is a right to rename all.
    public func discard(in states: borrowing Descriptor) throws(Failure) {
        guard try Discard(name, header.uuid, index, disk, path: path).run(directory, in: states) else {
            throw Failure("cannot undo the state \(path)", because: "the index has another one under its name")
        }
    }
}

/// What has become of a state whose maker was killed.
public enum DiscardOutcome: Sendable {
    /// It is gone, and it or its record was there before.
    case removed
    /// There was nothing of it yet.
    case absent
    /// Somebody else has used it since, or has it now.
    case stays
}

extension StateRepository {
    /// How long to wait for the lock of all states, and then for that of one, in milliseconds.
    private static let timeout = 2000

    /// Removes a state whose maker was killed, unless the state has been used since.
    public func discard(_ made: MadeState) throws(Failure) -> DiscardOutcome {
        let name = try StateDirectoryName.encoded(made.stateID)
        let discard = Discard(name, made.uuid, index, disk, path: path(of: name))
        return try withCreationLock(shared: true, until: Deadline(milliseconds: Self.timeout)) { () throws(Failure) in
            // A maker of an earlier version may have been killed before the directory had its name.
            try removeLeftovers(of: name)
            let isKept = try isIndexKept()
            guard let directory = try open(name) else {
                // The record is written first, and is removed last.
                guard isKept, try index.entry(name) != nil else { return .absent }
                return try discard.forget() ? .removed : .stays
            }
            do throws(Failure) {
                let deadline = Deadline(milliseconds: Self.timeout)
                let lock = try StateLock(in: directory, of: made.stateID, until: deadline)
                guard try isCurrent(directory, lock, name) else {
                    guard isKept else { return .absent }
                    return try discard.forget() ? .removed : .stays
                }
                return try lock.run { () throws(Failure) in
                    guard try isUnused(made, name, in: directory) else { return .stays }
                    guard isKept else {
                        try removeEmpty(directory, name)
                        return .removed
                    }
                    return try discard.run(directory, in: self.directory) ? .removed : .stays
                }
            } catch let error where error.code == EWOULDBLOCK {
                return .stays
            }
        }
    }

    /// Returns whether there is an index, or at least a state that one should know.
    ///
    /// On a host that never had a state its maker was killed before there was an index.
    private func isIndexKept() throws(Failure) -> Bool {
        if try index.load() != nil { return true }
        return try !isEmpty()
    }

    /// Returns whether the last user of a state, or the last that was about to use it, is the one that made it.
    private func isUnused(
        _ made: MadeState,
        _ name: String,
        in directory: borrowing Descriptor
    ) throws(Failure) -> Bool {
        let last = try StateLock.lastUser(in: directory)
        // There was none yet, or a discard that was killed halfway has removed it.
        guard try hasFile(name) else { return true }
        let header = try StateFile(parsing: read(in: directory, name), path: filePath(name))
        guard header.uuid == made.uuid, header.stateID.utf8.elementsEqual(made.stateID.utf8) else { return false }
        // The lock file names its user only once the state is open.
        return last == made.user || last == nil && header.generation == 0
    }

}

/// The steps of a discard.
///
/// After each of them the next start finds either the whole state or, once its file is gone, one that was never complete.
private struct Discard {
    private let name: String
    private let uuid: [UInt8]
    private let index: HostIndex
    private let disk: any Disk
    private let path: String

    init(_ name: String, _ uuid: [UInt8], _ index: HostIndex, _ disk: any Disk, path: String) {
        self.name = name
        self.uuid = uuid
        self.index = index
        self.disk = disk
        self.path = path
    }

    /// Discards the state; returns false and changes nothing if the index has another state under this name, or none.
    func run(_ directory: borrowing Descriptor, in states: borrowing Descriptor) throws(Failure) -> Bool {
        // From here on the file may be missing. Until it is, the index shows a state that was never started.
        let isKnown = try index.transact { (records) throws(Failure) in
            guard isOurs(try records.entry(name)) else { return false }
            try records.update(name) { $0.generation = 0 }
            return true
        }
        guard isKnown else {
            // Its maker may have been killed before the record.
            guard try index.entry(name) == nil, try directory.status(of: StateStore.fileName, path) == nil else {
                return false
            }
            return try RemovedState.removeDirectory(directory, name, in: states, disk, path: path)
        }
        try disk.removeFile(StateStore.fileName, in: directory, as: path)
        try disk.synchronize(directory, as: path)
        if try RemovedState.removeDirectory(directory, name, in: states, disk, path: path) {
            try disk.synchronize(states, as: path)
        }
        // If the record is another's now, somebody has begun the state again.
        _ = try forget()
        return true
    }

    /// Removes the index's record of the state; returns false if the record is another state's.
    func forget() throws(Failure) -> Bool {
        try index.transact { (records) throws(Failure) in
            guard let entry = try records.entry(name) else { return true }
            guard isOurs(entry) else { return false }
            try records.remove(name)
            return true
        }
    }

    private func isOurs(_ entry: IndexEntry?) -> Bool {
        guard let entry else { return false }
        return entry.uuid == uuid && entry.renamedTo.isEmpty
    }
}
