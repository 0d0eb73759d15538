import Crypto
import Glibc
import Platform

/// One TPM's state on disk: locked against a second user, written so that a crash leaves the old or the new one.
public final class StateStore: StateSink {
    package static let fileName = "state"
    package static let temporaryName = "state.new"

    let index: HostIndex
    let disk: any Disk
    /// The state file's path, for errors.
    let path: String
    let directory: Descriptor
    private let lock: StateLock
    let name: String
    private let use: Use
    private(set) var header: StateFile
    /// The instance's keys by the ids of their master keys, which are not kept.
    private var keys: [[UInt8]: SecretBytes]
    /// The one that the next write is made with.
    private var keyID: [UInt8]

    /// What the index remembers of a use.
    private struct Use {
        var bundle: String
        var containerID: String
        var keptFor: UInt64?
    }

    /// How often the state was written.
    public var generation: UInt64 { header.generation }

    /// Locks a state and loads it, or begins a new one where there has never been any under this ID.
    ///
    /// - Parameters:
    ///   - stateID: Whose state.
    ///   - formerID: What an older version named it: one that is there under that name is not begun anew.
    ///   - repository: Where the host's states are.
    ///   - user: Who will use the state.
    ///   - bundle: The bundle of the container that will use it.
    ///   - keptFor: How long the state is kept after its last use, in seconds; nil if until somebody removes it.
    ///   - deadline: How long to wait for a user that is about to let go.
    ///   - checkCancellation: Called while waiting.
    ///   - making: Called with the new TPM's UUID before anything of a state is made, and with that of one that is not
    ///     complete, for ``MadeState``.
    /// - Returns: The store, and the TPM's state; a state that is not complete is to be manufactured.
    /// - Throws: ``Failure`` that tells which way the state is missing, damaged, foreign, older than the last one seen or
    ///   in use; nothing was changed.
    public static func open(
        _ stateID: String,
        formerly formerID: String? = nil,
        in repository: StateRepository,
        for user: StateUser,
        bundle: String = "",
        keptFor: UInt64? = nil,
        until deadline: Deadline,
        checkCancellation: CancellationCheck = {},
        making: ([UInt8]) throws(Failure) -> Void = { (_) throws(Failure) in }
    ) throws(Failure) -> (store: StateStore, payload: StatePayload) {
        let name = try StateDirectoryName.encoded(stateID)
        try repository.requireAccess(to: name)
        let directory: Descriptor
        if let existing = try repository.open(name) {
            directory = existing
        } else {
            directory = try create(name, stateID, formerID, in: repository, until: deadline, checkCancellation, making)
        }
        let lock = try StateLock(in: directory, of: stateID, until: deadline, checkCancellation: checkCancellation)
        if try repository.isDiscarded(directory, name) {
            return try open(
                stateID,
                formerly: formerID,
                in: repository,
                for: user,
                bundle: bundle,
                keptFor: keptFor,
                until: deadline,
                checkCancellation: checkCancellation,
                making: making
            )
        }
        let path = repository.filePath(name)
        let file = try repository.read(in: directory, name)
        let header = try StateFile(parsing: file, path: path)
        let key = try repository.keys.instanceKey(of: header, stateID, path: path)
        let payload = try header.decode(file, key: key, path: path)
        try repository.index.transact { (records) throws(Failure) in
            let entry = try records.entry(name)
            try repository.check(header, against: entry, path: path)
            try repository.check(payload, against: entry, path: path)
        }
        if !payload.isComplete { try making(header.uuid) }
        // A user that was killed may have left what is seen here unsynced, and its name; what is built on it must not be
        // lost with it.
        try repository.synchronize(directory, path: path)
        // What a crash left of an unfinished write was never acknowledged to anybody.
        try repository.disk.removeFile(temporaryName, in: directory, as: path)
        try lock.name(user)
        var keys: [[UInt8]: SecretBytes] = [:]
        for master in repository.keys.all {
            keys[master.id] = try master.instanceKey(uuid: header.uuid, stateID: stateID)
        }
        let store = StateStore(
            repository,
            directory,
            lock,
            name: name,
            use: Use(bundle: bundle, containerID: user.containerID, keptFor: keptFor),
            header: header,
            keys: keys
        )
        return (store, payload)
    }

    /// Writes a new state; when it returns, the state is on stable storage.
    ///
    /// On an error the old state or, where only the last sync failed, either of the two is on disk; the TPM must not go
    /// on, since what it said from now on could be forgotten.
    public func write(_ payload: StatePayload) throws(Failure) {
        try write(payload, keyID)
    }

    private func write(_ payload: StatePayload, _ keyID: [UInt8]) throws(Failure) {
        guard let key = keys[keyID] else { preconditionFailure("each id that is used has its key") }
        let next = try header.next(keyID: keyID)
        try Self.write(next, payload, key: key, in: directory, disk, path: path)
        header = next
    }

    /// Has the index remember how far the state has come.
    public func recordUse(library: String? = nil) throws(Failure) {
        let (generation, name, use) = (header.generation, name, use)
        try index.transact { (records) throws(Failure) in
            guard var entry = try records.entry(name) else {
                throw Failure(
                    "cannot record the use of the state \(path)",
                    because: "the host's index does not know it any more"
                )
            }
            entry.generation = max(entry.generation, generation)
            entry.lastUse = UInt64(clamping: time(nil))
            entry.bundle = use.bundle
            entry.containerID = use.containerID.utf8.count <= IndexEntry.containerIDLimit ? use.containerID : ""
            entry.keptFor = use.keptFor
            if let library { entry.library = library }
            try records.set(entry)
        }
    }

    /// Writes the state again, under another master key, with which it is written from now on, also after an error.
    ///
    /// Where the state has that key already, it only makes sure that it has it on stable storage too.
    public func rekey(to master: MasterKey) throws(Failure) {
        try index.learn(master)
        if keys[master.id] == nil {
            keys[master.id] = try master.instanceKey(uuid: header.uuid, stateID: header.stateID)
        }
        let file = try StateRepository.readFile(in: directory, path: path)
        let onDisk = try StateFile(parsing: file, path: path)
        // Nobody else writes here; what is not ours must not be made ours. A write whose last sync failed is one ahead.
        guard onDisk.uuid == header.uuid, onDisk.stateID.utf8.elementsEqual(header.stateID.utf8),
            onDisk.generation >= header.generation, onDisk.generation - header.generation <= 1,
            let oldKey = keys[onDisk.keyID]
        else {
            throw Failure(
                "cannot change the key of the state \(path)",
                because: "the file was changed by somebody else"
            )
        }
        let payload = try onDisk.decode(file, key: oldKey, path: path)
        keyID = master.id
        if onDisk.keyID == master.id { return try disk.synchronize(directory, as: path) }
        try write(payload, keyID)
    }

    package static func write(
        _ header: StateFile,
        _ payload: StatePayload,
        key: SecretBytes,
        in directory: borrowing Descriptor,
        _ disk: any Disk,
        path: String
    ) throws(Failure) {
        let content = try header.encode(payload, key: key)
        try disk.replace(fileName, in: directory, with: content, as: path)
    }

    /// Makes a directory with an incomplete state in it, which the index knows before it is there.
    ///
    /// It appears under its name only with the state file in it, so a directory without one has lost it. The states
    /// directory is locked meanwhile: what lies under the temporary name is a leftover of a crash.
    private static func create(
        _ name: String,
        _ stateID: String,
        _ formerID: String?,
        in repository: StateRepository,
        until deadline: Deadline,
        _ checkCancellation: CancellationCheck,
        _ making: ([UInt8]) throws(Failure) -> Void
    ) throws(Failure) -> Descriptor {
        let path = repository.path(of: name)
        return try repository.withCreationLock(until: deadline, checkCancellation: checkCancellation) {
            () throws(Failure) in
            if let existing = try repository.open(name) { return existing }
            try repository.settleRemoval(of: name)
            let header = try StateFile(
                keyID: repository.keys.current.id,
                uuid: try Random.bytes(count: StateFile.uuidSize),
                generation: 0,
                stateID: stateID
            )
            try making(header.uuid)
            try repository.index.transact(isFirstUse: { () throws(Failure) in try repository.isEmpty() }) {
                (records) throws(Failure) in
                try repository.refuseAnew(stateID, formerly: formerID) { (name) throws(Failure) in
                    try records.entry(name)
                }
                let entry = try records.entry(name)
                try repository.requireNotBeingRenamed(entry, "cannot create the state \(path)")
                if let entry, entry.generation > 0 {
                    throw Failure(
                        "cannot load the state \(path)",
                        because: "it existed and is missing",
                        hint: "restore it from a backup, or begin anew: vtpmctl state reset"
                    )
                }
                try records.set(IndexEntry(stateID: stateID, uuid: header.uuid, generation: 0))
            }
            // Not before the index has said that there is nothing to lose.
            try repository.removeLeftovers(of: name)
            let nothing = StatePayload(permanent: try SecretBytes(capacity: 1), isComplete: false)
            return try repository.makeDirectory(name, header, nothing)
        }
    }

    private init(
        _ repository: StateRepository,
        _ directory: consuming Descriptor,
        _ lock: consuming StateLock,
        name: String,
        use: Use,
        header: StateFile,
        keys: [[UInt8]: SecretBytes]
    ) {
        self.index = repository.index
        self.disk = repository.disk
        self.path = repository.filePath(name)
        self.directory = directory
        self.lock = lock
        self.name = name
        self.use = use
        self.header = header
        self.keys = keys
        self.keyID = repository.keys.current.id
    }
}
