import CLinux
import Glibc
import Platform

/// A state that the creation of a container makes, for whoever has to undo that.
public struct MadeState: Equatable, Sendable {
    /// The state's ID.
    public var stateID: String
    /// The TPM instance's UUID: a state of the same ID that somebody else made has another.
    public var uuid: [UInt8]
    /// Who makes it, as the state's lock names it.
    public var user: StateUser

    /// Names a state.
    public init(stateID: String, uuid: [UInt8], user: StateUser) {
        self.stateID = stateID
        self.uuid = uuid
        self.user = user
    }

    /// How a file in the lease's directory has it.
    public var encoded: [UInt8] {
        var writer = ByteWriter()
        writer.write(uuid)
        writer.write(text: stateID)
        writer.write(user.encoded)
        return writer.bytes
    }

    /// Reads ``encoded``; nil if it is something else.
    public init?(_ bytes: [UInt8]) {
        var reader = ByteReader(bytes)
        guard let uuid = reader.read(count: StateFile.uuidSize), let stateID = reader.readText(),
            let rest = reader.read(count: reader.remaining), let user = StateUser(Array(rest))
        else { return nil }
        self.init(stateID: stateID, uuid: Array(uuid), user: user)
    }
}

extension StateStore {
    /// Removes the state again, with what the index has of it: its container never came to be.
    ///
    /// For the one that made it, and still has its lock. It takes the right to remove directories from that of the
    /// states, and none to rename: whoever may rename one there may rename all.
    public func discard(in states: borrowing Descriptor) throws(Failure) {
        guard try Discard(name, header.uuid, index, disk, path: path).run(directory, in: states) else {
            throw Failure("cannot undo the state \(path)", because: "the index has another one under its name")
        }
    }
}

extension StateRepository {
    /// How long others may have a state or all states, in milliseconds.
    private static let timeout = 2000

    /// Does the same for one that was killed, if nobody has used the state since; returns whether it is gone.
    public func discard(_ made: MadeState) throws(Failure) -> Bool {
        let name = try StateDirectoryName.encoded(made.stateID)
        let discard = Discard(name, made.uuid, index, disk, path: path(of: name))
        return try withCreationLock(until: Deadline(milliseconds: Self.timeout)) { () throws(Failure) in
            // It may have been killed before the directory had its name.
            try removeLeftovers(of: name)
            guard let directory = try open(name) else {
                // The record is written first, and is removed last.
                return try discard.forget()
            }
            do throws(Failure) {
                let deadline = Deadline(milliseconds: Self.timeout)
                let lock = try StateLock(in: directory, of: made.stateID, until: deadline)
                return try lock.run { () throws(Failure) in
                    guard try isUnused(made, name, in: directory) else { return false }
                    return try discard.run(directory, in: self.directory)
                }
            } catch let error where error.code == EWOULDBLOCK {
                return false
            }
        }
    }

    /// Whether the last one that used a state, or was about to, is the one that made it.
    private func isUnused(
        _ made: MadeState,
        _ name: String,
        in directory: borrowing Descriptor
    ) throws(Failure) -> Bool {
        let last = try StateLock.lastUser(in: directory)
        // Who was killed half-way in this has removed the file.
        guard try hasFile(directory, name) else { return true }
        let header = try StateFile(parsing: read(in: directory, name), path: filePath(name))
        guard header.uuid == made.uuid, header.stateID.utf8.elementsEqual(made.stateID.utf8) else { return false }
        // It is named once the state is open.
        return last == made.user || last == nil && header.generation == 0
    }

    fileprivate func hasFile(_ directory: borrowing Descriptor, _ name: String) throws(Failure) -> Bool {
        if faccessat(directory.number, StateStore.fileName, F_OK, 0) == 0 { return true }
        let code = errno
        guard code == ENOENT else { throw Failure("cannot open \(filePath(name))", call: "faccessat", code: code) }
        return false
    }

    /// Whether a state that was found and locked has to be looked for once more: it was discarded meanwhile.
    ///
    /// What somebody who was killed in this has left is removed. The index tells it from a state that has lost its file:
    /// of that one it knows that it was used.
    func isDiscarded(_ directory: borrowing Descriptor, _ name: String) throws(Failure) -> Bool {
        guard let now = try open(name) else { return true }
        let path = path(of: name)
        let (found, own) = (try now.status(path), try directory.status(path))
        guard found.st_dev == own.st_dev, found.st_ino == own.st_ino else { return true }
        guard try !hasFile(directory, name) else { return false }
        let entry = try index.transact { (records) throws(Failure) in try records.entry(name) }
        guard let entry, entry.generation == 0, entry.renamedTo.isEmpty else { return false }
        try Discard(name, entry.uuid, index, disk, path: path).removeDirectory(directory, in: self.directory)
        return true
    }
}

/// The steps of it, each of which leaves what the next start can do with: the whole state or, once its file is gone, none.
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

    /// Returns false, with nothing changed, where the index knows another state under this name, or none.
    func run(_ directory: borrowing Descriptor, in states: borrowing Descriptor) throws(Failure) -> Bool {
        // From here on the file may be missing. Until it is, this is a state that was never started.
        let isKnown = try index.transact { (records) throws(Failure) in
            guard isOurs(try records.entry(name)) else { return false }
            try records.update(name) { $0.generation = 0 }
            return true
        }
        guard isKnown else { return false }
        try disk.removeFile(StateStore.fileName, in: directory, as: path)
        try disk.synchronize(directory, as: path)
        try removeDirectory(directory, in: states)
        return try forget()
    }

    /// Removes the directory of a state that has no file any more.
    func removeDirectory(_ directory: borrowing Descriptor, in states: borrowing Descriptor) throws(Failure) {
        for file in [StateStore.temporaryName, StateLock.name] {
            try disk.removeFile(file, in: directory, as: path)
        }
        try disk.removeDirectory(name, in: states, as: path)
        try disk.synchronize(states, as: path)
    }

    /// Removes the record; returns whether there is none any more.
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
