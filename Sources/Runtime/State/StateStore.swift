import Glibc
import Platform

/// One TPM's state on disk: locked against a second user, written so that a crash leaves the old or the new one.
public struct StateStore: ~Copyable {
    static let fileName = "state"
    static let temporaryName = "state.new"

    private let directory: Descriptor
    private let lock: StateLock
    private let key: SecretBytes
    private let path: String
    private var header: StateFile

    /// How often the state was written.
    public var generation: UInt64 { header.generation }

    /// Locks a state and loads it, or begins a new one where there has never been any under this ID.
    ///
    /// - Parameters:
    ///   - stateID: Whose state.
    ///   - states: The directory with a directory for each state.
    ///   - statesPath: Its path, for errors.
    ///   - user: Who will use the state.
    ///   - masterKey: The key that the instance's key is derived from.
    ///   - deadline: How long to wait for a user that is about to let go.
    ///   - goesOn: Called while waiting; throws when there is nothing to wait for any more.
    /// - Returns: The store, and the TPM's state; a state that is not complete is to be manufactured.
    /// - Throws: ``Failure`` that tells which way the state is missing, damaged, foreign or in use; nothing was changed.
    public static func open(
        _ stateID: String,
        in states: borrowing Descriptor,
        statesPath: String,
        for user: StateUser,
        with masterKey: MasterKey,
        until deadline: Deadline,
        checking goesOn: () throws(Failure) -> Void = {}
    ) throws(Failure) -> OpenedState {
        let name = try StateName.encoded(stateID)
        let path = "\(statesPath)/\(name)"
        let directory: Descriptor
        do {
            directory = try .open(name, .beneath(O_RDONLY | O_DIRECTORY), at: states.number, as: path)
        } catch let error where error.code == ENOENT {
            directory = try create(name, stateID, in: states, path: path, with: masterKey, until: deadline, goesOn)
        }
        let lock = try StateLock(in: directory, of: stateID, until: deadline, checking: goesOn)
        let file = try read(in: directory, path: path)
        let header = try StateFile(parsing: file, path: "\(path)/\(fileName)")
        let key = try checkedKey(of: header, stateID, with: masterKey, path: "\(path)/\(fileName)")
        let payload = try header.decode(file, key: key, path: "\(path)/\(fileName)")
        // What a crash left of an unfinished write was never acknowledged to anybody.
        try remove(temporaryName, at: directory, "\(path)/\(temporaryName)")
        try lock.name(user)
        return OpenedState(
            store: StateStore(directory: directory, lock: lock, key: key, path: path, header: header),
            payload: payload
        )
    }

    /// Writes a new state; when it returns, the state is on stable storage.
    ///
    /// On an error the old state or, where only the last sync failed, either of the two is on disk; the TPM must not go
    /// on, since what it said from now on could be forgotten.
    public mutating func write(_ payload: StatePayload) throws(Failure) {
        let next = try StateFile(
            keyID: header.keyID,
            uuid: header.uuid,
            generation: header.generation + 1,
            stateID: header.stateID
        )
        try Self.write(next, payload, key: key, in: directory, path: path)
        header = next
    }

    private static func write(
        _ header: StateFile,
        _ payload: StatePayload,
        key: SecretBytes,
        in directory: borrowing Descriptor,
        path: String
    ) throws(Failure) {
        let content = try header.encode(payload, key: key)
        let number = directory.number
        let name = "\(path)/\(fileName)"
        do {
            let file = try Descriptor.open(
                temporaryName,
                .beneath(O_WRONLY | O_CREAT | O_TRUNC, mode: 0o600),
                at: number,
                as: "\(path)/\(temporaryName)"
            )
            try file.writeAll(content, name)
            try file.synchronize(name)
            try systemCall("renameat", "cannot replace \(name)") { renameat(number, temporaryName, number, fileName) }
        } catch {
            unlinkat(number, temporaryName, 0)
            throw error
        }
        try directory.synchronize(path)
    }

    /// Makes a directory with an incomplete state in it.
    ///
    /// It appears under its name only with the state file in it, so a directory without one has lost it. The states
    /// directory is locked meanwhile: what lies under the temporary name is a leftover of a crash.
    private static func create(
        _ name: String,
        _ stateID: String,
        in states: borrowing Descriptor,
        path: String,
        with masterKey: MasterKey,
        until deadline: Deadline,
        _ goesOn: () throws(Failure) -> Void
    ) throws(Failure) -> Descriptor {
        let guardian = try Descriptor.open(".", .directory, at: states.number, as: "the states directory")
        let lock = guardian.number
        let parent = states.number
        let temporary = ".new-\(name)"
        let what = "cannot create \(path)"
        while true {
            do {
                try systemCall("flock", what) { flock(lock, LOCK_EX | LOCK_NB) }
                break
            } catch let error where error.code == EWOULDBLOCK && !deadline.hasPassed {
                try goesOn()
                poll(nil, 0, 5)
            }
        }
        do {
            return try .open(name, .beneath(O_RDONLY | O_DIRECTORY), at: parent, as: path)
        } catch let error where error.code == ENOENT {}
        if mkdirat(parent, temporary, 0o700) == -1, errno != EEXIST {
            throw Failure(what, call: "mkdir", code: errno)
        }
        let directory = try Descriptor.open(temporary, .beneath(O_RDONLY | O_DIRECTORY), at: parent, as: path)
        let header = try StateFile(
            keyID: masterKey.id,
            uuid: try Cryptography.random(count: StateFile.uuidSize),
            generation: 0,
            stateID: stateID
        )
        let key = try masterKey.instanceKey(uuid: header.uuid, stateID: stateID)
        let nothing = StatePayload(permanent: try SecretBytes(capacity: 1), isComplete: false)
        do {
            try write(header, nothing, key: key, in: directory, path: path)
            try systemCall("renameat", what) { renameat(parent, temporary, parent, name) }
        } catch {
            unlinkat(directory.number, fileName, 0)
            unlinkat(parent, temporary, AT_REMOVEDIR)
            throw error
        }
        try states.synchronize("the states directory")
        return directory
    }

    private static func read(in directory: borrowing Descriptor, path: String) throws(Failure) -> [UInt8] {
        let file: Descriptor
        do {
            file = try .open(fileName, .beneath(O_RDONLY), at: directory.number, as: "\(path)/\(fileName)")
        } catch let error where error.code == ENOENT {
            throw Failure(
                "cannot load the state \(path)/\(fileName)",
                because: "it existed and is missing",
                remedy: "restore the file from a backup"
            )
        }
        return try file.readAll(limit: StateFile.sizeLimit, "\(path)/\(fileName)")
    }

    static func checkedKey(
        of header: StateFile,
        _ stateID: String,
        with masterKey: MasterKey,
        path: String
    ) throws(Failure) -> SecretBytes {
        let what = "cannot load the state \(path)"
        guard header.stateID == stateID else {
            throw Failure(what, because: "it is the state of \"\(header.stateID)\", not of \"\(stateID)\"")
        }
        guard header.keyID == masterKey.id else {
            throw Failure(
                what,
                because: "it needs the master key \(StateName.hexadecimal(header.keyID)), "
                    + "and this host has \(StateName.hexadecimal(masterKey.id))",
                remedy: "restore that key"
            )
        }
        return try masterKey.instanceKey(uuid: header.uuid, stateID: stateID)
    }

    private init(
        directory: consuming Descriptor,
        lock: consuming StateLock,
        key: SecretBytes,
        path: String,
        header: StateFile
    ) {
        self.directory = directory
        self.lock = lock
        self.key = key
        self.path = path
        self.header = header
    }
}

/// A state that was locked and loaded.
public struct OpenedState: ~Copyable {
    private let store: StateStore
    /// What it was.
    public let payload: StatePayload

    init(store: consuming StateStore, payload: StatePayload) {
        self.store = store
        self.payload = payload
    }

    /// Gives away what it is written to.
    public consuming func takeStore() -> StateStore { store }
}
