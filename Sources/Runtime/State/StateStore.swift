import Glibc
import Platform

/// One TPM's state on disk: locked against a second user, written so that a crash leaves the old or the new one.
public final class StateStore: StateKeeper {
    package static let fileName = "state"
    package static let temporaryName = "state.new"

    private let repository: StateRepository
    private let directory: Descriptor
    private let lock: StateLock
    private let name: String
    private let bundle: String
    private var header: StateFile
    /// The key that the next write is made with, and the master key that it is derived from.
    private var key: SecretBytes
    private var keyID: [UInt8]

    /// How often the state was written.
    public var generation: UInt64 { header.generation }

    /// Locks a state and loads it, or begins a new one where there has never been any under this ID.
    ///
    /// - Parameters:
    ///   - stateID: Whose state.
    ///   - repository: Where the host's states are.
    ///   - user: Who will use the state.
    ///   - bundle: The bundle of the container that will use it.
    ///   - deadline: How long to wait for a user that is about to let go.
    ///   - goesOn: Called while waiting; throws when there is nothing to wait for any more.
    /// - Returns: The store, and the TPM's state; a state that is not complete is to be manufactured.
    /// - Throws: ``Failure`` that tells which way the state is missing, damaged, foreign, older than the last one seen or
    ///   in use; nothing was changed.
    public static func open(
        _ stateID: String,
        in repository: StateRepository,
        for user: StateUser,
        bundle: String = "",
        until deadline: Deadline,
        checking goesOn: () throws(Failure) -> Void = { () throws(Failure) in }
    ) throws(Failure) -> (store: StateStore, payload: StatePayload) {
        let name = try StateName.encoded(stateID)
        let directory: Descriptor
        if let existing = try repository.open(name) {
            directory = existing
        } else {
            directory = try create(name, stateID, in: repository, until: deadline, goesOn)
        }
        let lock = try StateLock(in: directory, of: stateID, until: deadline, checking: goesOn)
        let path = repository.filePath(name)
        let file = try repository.read(in: directory, name)
        let header = try StateFile(parsing: file, path: path)
        let key = try repository.keys.instanceKey(of: header, stateID, path: path)
        let payload = try header.decode(file, key: key, path: path)
        try repository.index.transact { (entries) throws(Failure) in
            try repository.check(header, against: entries[name], path: path)
        }
        // A user that was killed may have left what is seen here unsynced, and its name; what is built on it must not be
        // lost with it.
        try repository.synchronize(directory, path: path)
        // What a crash left of an unfinished write was never acknowledged to anybody.
        try repository.disk.removeFile(temporaryName, in: directory, as: path)
        try lock.name(user)
        let current = repository.keys.current
        let store = StateStore(
            repository,
            directory,
            lock,
            name: name,
            bundle: bundle,
            header: header,
            key: try current.instanceKey(uuid: header.uuid, stateID: stateID),
            keyID: current.id
        )
        return (store, payload)
    }

    /// Writes a new state; when it returns, the state is on stable storage.
    ///
    /// On an error the old state or, where only the last sync failed, either of the two is on disk; the TPM must not go
    /// on, since what it said from now on could be forgotten.
    public func write(_ payload: StatePayload) throws(Failure) {
        let next = try header.next(keyID: keyID)
        try Self.write(next, payload, key: key, in: directory, repository, path: repository.filePath(name))
        header = next
    }

    /// Has the index remember how far the state has come.
    public func recordUse() throws(Failure) {
        let (generation, name, bundle) = (header.generation, name, bundle)
        try repository.index.transact { (entries) throws(Failure) in
            guard var entry = entries[name] else {
                throw Failure(
                    "cannot record the use of the state \(repository.path(of: name))",
                    because: "the host's index does not know it any more"
                )
            }
            entry.generation = max(entry.generation, generation)
            entry.lastUse = UInt64(clamping: time(nil))
            entry.bundle = bundle
            entries[name] = entry
        }
    }

    /// Writes the state again, under another master key, with which it is written from now on.
    ///
    /// On an error it goes on with the key that it has.
    public func rekey(to master: MasterKey) throws(Failure) {
        let path = repository.filePath(name)
        let file = try repository.read(in: directory, name)
        let onDisk = try StateFile(parsing: file, path: path)
        let newKey = try master.instanceKey(uuid: header.uuid, stateID: header.stateID)
        // The last write may still be one with the key before the current one, or with the new one, where an earlier try
        // failed at its very end.
        let oldKey =
            switch onDisk.keyID {
            case keyID: key
            case master.id: newKey
            default: try repository.keys.instanceKey(of: onDisk, onDisk.stateID, path: path)
            }
        let payload = try onDisk.decode(file, key: oldKey, path: path)
        try repository.index.learn(master)
        let next = try header.next(keyID: master.id)
        try Self.write(next, payload, key: newKey, in: directory, repository, path: path)
        header = next
        key = newKey
        keyID = master.id
    }

    package static func write(
        _ header: StateFile,
        _ payload: StatePayload,
        key: SecretBytes,
        in directory: borrowing Descriptor,
        _ repository: StateRepository,
        path: String
    ) throws(Failure) {
        let content = try header.encode(payload, key: key)
        try repository.disk.replace(fileName, in: directory, with: content, as: path)
    }

    /// Makes a directory with an incomplete state in it, which the index knows before it is there.
    ///
    /// It appears under its name only with the state file in it, so a directory without one has lost it. The states
    /// directory is locked meanwhile: what lies under the temporary name is a leftover of a crash.
    private static func create(
        _ name: String,
        _ stateID: String,
        in repository: StateRepository,
        until deadline: Deadline,
        _ goesOn: () throws(Failure) -> Void
    ) throws(Failure) -> Descriptor {
        let path = repository.path(of: name)
        let guardian = try repository.lockForCreation(until: deadline, goesOn)
        defer { withExtendedLifetime(guardian) {} }
        if let existing = try repository.open(name) { return existing }
        let header = try StateFile(
            keyID: repository.keys.current.id,
            uuid: try Cryptography.random(count: StateFile.uuidSize),
            generation: 0,
            stateID: stateID
        )
        try repository.index.transact(isFirstUse: { () throws(Failure) in try repository.names().isEmpty }) {
            (entries) throws(Failure) in
            if let entry = entries[name], entry.generation > 0 || !entry.renamedTo.isEmpty {
                throw Failure(
                    "cannot load the state \(path)",
                    because: entry.renamedTo.isEmpty
                        ? "it existed and is missing" : "it is being renamed to \"\(entry.renamedTo)\"",
                    remedy: entry.renamedTo.isEmpty
                        ? "restore it from a backup, or begin anew: vtpmctl state reset"
                        : "finish that: vtpmctl state rename"
                )
            }
            entries[name] = IndexEntry(stateID: stateID, uuid: header.uuid, generation: 0)
        }
        let nothing = StatePayload(permanent: try SecretBytes(capacity: 1), isComplete: false)
        return try repository.makeDirectory(name, header, nothing)
    }

    private init(
        _ repository: StateRepository,
        _ directory: consuming Descriptor,
        _ lock: consuming StateLock,
        name: String,
        bundle: String,
        header: StateFile,
        key: SecretBytes,
        keyID: [UInt8]
    ) {
        self.repository = repository
        self.directory = directory
        self.lock = lock
        self.name = name
        self.bundle = bundle
        self.header = header
        self.key = key
        self.keyID = keyID
    }
}

extension StateRepository {
    /// Keeps others from making, renaming or removing states' directories, for as long as the lock lives.
    package func lockForCreation(
        until deadline: Deadline,
        _ goesOn: () throws(Failure) -> Void = { () throws(Failure) in }
    ) throws(Failure) -> FileLock {
        try FileLock(directory: directory, until: deadline, "the states directory", checking: goesOn)
    }

    /// Makes a state's directory with its first file, so that it appears whole or not at all.
    package func makeDirectory(
        _ name: String,
        _ header: StateFile,
        _ payload: StatePayload
    ) throws(Failure) -> Descriptor {
        let (path, temporary) = (path(of: name), ".new-\(name)")
        do {
            try disk.makeDirectory(temporary, in: directory, as: path)
        } catch let error where error.code == EEXIST {}
        let new = try Descriptor.open(temporary, .beneath(O_RDONLY | O_DIRECTORY), at: directory.number, as: path)
        let key = try keys.instanceKey(of: header, header.stateID, path: path)
        do {
            try StateStore.write(header, payload, key: key, in: new, self, path: "\(path)/\(StateStore.fileName)")
            try disk.rename(temporary, in: directory, to: name, in: directory, as: path)
        } catch {
            try? disk.removeFile(StateStore.fileName, in: new, as: path)
            try? disk.removeDirectory(temporary, in: directory, as: path)
            throw error
        }
        try disk.synchronize(directory, as: path)
        return new
    }

    /// Makes sure that a state's file and its directory are found under their names after a power failure.
    package func synchronize(_ directory: borrowing Descriptor, path: String) throws(Failure) {
        try disk.synchronize(directory, as: path)
        try disk.synchronize(self.directory, as: path)
    }
}
