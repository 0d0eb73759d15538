import CLinux
import Crypto
import Glibc
import Platform
import VTPMProxy

/// One TPM's state on disk: locked against a second user, and written so that a crash leaves the old or the new one.
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
    /// The state's file, which most writes change in place; nil until the first write of a new state.
    private var file: Descriptor?
    private let unit: Int
    /// What the file was like after this store's last write; nil if it has not written to it.
    private var written: FileMark?
    /// The instance's keys by the IDs of their master keys, which are not kept in memory.
    private var keys: [[UInt8]: InstanceKeys]
    /// The ID of the master key of the next write.
    private var keyID: [UInt8]
    /// The host's record of the TPM's identity, which each write has; empty if there is none.
    public var endorsement: [UInt8]
    /// The items of the state that only a later version knows.
    private let unknown: SecretBytes?

    /// The details of a use that the index records.
    private struct Use {
        var bundle: String
        var containerID: String
        var keptFor: UInt64?
    }

    /// The number of the last write.
    public var generation: UInt64 { header.generation }

    /// Locks a state and loads it, or creates one if there has never been any with this ID.
    ///
    /// - Parameters:
    ///   - stateID: The state's ID.
    ///   - formerID: The ID that an older version gave the state; no new one is created if there is one with that ID.
    ///   - repository: The host's states.
    ///   - user: The user that the lock file will name.
    ///   - bundle: The bundle of the container that will use the state.
    ///   - keptFor: How long the state is kept after its last use, in seconds; nil if it is never removed
    ///     automatically.
    ///   - deadline: How long to wait for a user that is about to release the state.
    ///   - checkCancellation: Called while waiting.
    ///   - making: Called with the new TPM's UUID before anything of a state is created, its directory included, and with the
    ///     UUID of an incomplete state, for ``MadeState``. A state that somebody else makes meanwhile has another UUID.
    /// - Returns: The store, and the TPM's state; an incomplete state has to be manufactured.
    /// - Throws: ``Failure`` that tells whether the state is missing, damaged, foreign, older than the last one seen or
    ///   in use. An existing state is unchanged then; of a state that was to be created an empty directory may remain.
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
        let header = StateFile(
            keyID: repository.keys.current.id,
            uuid: try Random.bytes(count: StateFile.uuidSize),
            generation: 0,
            stateID: stateID
        )
        // Who is killed after it has made the directory leaves a record by which the directory is removed.
        let isAnnounced = try !repository.hasFile(name)
        if isAnnounced { try making(header.uuid) }
        let state = try repository.lock(name, of: stateID, until: deadline, checkCancellation: checkCancellation)
        let use = Use(bundle: bundle, containerID: user.containerID, keptFor: keptFor)
        guard try repository.hasFile(name) else {
            if !isAnnounced { try making(header.uuid) }
            try repository.begin(
                header,
                name,
                formerly: formerID,
                in: state,
                until: deadline,
                checkCancellation: checkCancellation
            )
            let nothing = StatePayload(permanent: try SecretBytes(capacity: 1), isComplete: false)
            let store = try StateStore(repository, state, nil, name: name, for: user, use, header, nothing)
            return (store, nothing)
        }
        return try load(state, name, stateID, in: repository, for: user, use, making)
    }

    /// Loads a state that has a file.
    private static func load(
        _ state: consuming LockedState,
        _ name: String,
        _ stateID: String,
        in repository: StateRepository,
        for user: StateUser,
        _ use: Use,
        _ making: ([UInt8]) throws(Failure) -> Void
    ) throws(Failure) -> (store: StateStore, payload: StatePayload) {
        let path = repository.filePath(name)
        let file = try StateRepository.openFile(in: state.directory, O_RDWR, path: path)
        let content = try file.readAll(limit: StateFile.sizeLimit, path)
        let header = try StateFile(parsing: content, path: path)
        let own = try repository.keys.instanceKeys(of: header, stateID, path: path)
        let payload = try header.decode(content, keys: own, path: path)
        let recorded = try repository.index.transact { (records) throws(Failure) in
            let entry = try records.entry(name)
            try repository.check(header, against: entry, path: path)
            try repository.check(payload, against: entry, path: path)
            return entry?.generation
        }
        if !payload.isComplete { try making(header.uuid) }
        // A killed user may have left the file or its name unsynced; what is built on them must not be lost with them.
        // A generation is recorded only when it is on stable storage.
        if !payload.isComplete || recorded != header.generation {
            try header.rewrite(content, to: file, repository.disk, path: path)
            try repository.synchronize(state.directory, path: path)
        }
        let store = try StateStore(repository, state, file, name: name, for: user, use, header, payload)
        return (store, payload)
    }

    /// Names another user in the lock that this store holds.
    public func name(_ user: StateUser) throws(Failure) { try lock.name(user) }

    /// Writes a new state; when it returns, the state is on stable storage.
    ///
    /// It goes into the slot of the file that does not have the old one. The first write replaces the file that was
    /// found, as does one that finds no room, another master key, or that somebody else has written or linked the file:
    /// sectors of an earlier run have another salt, and cannot make the last write look torn. After an error the old state
    /// is on disk; if only the last sync failed, either of the two. The TPM must then stop: its responses could be forgotten.
    public func write(_ payload: StatePayload) throws(Failure) {
        try write(payload.keeping(endorsement, unknown), keyID)
    }

    private func write(_ payload: StatePayload, _ keyID: [UInt8]) throws(Failure) {
        guard let own = keys[keyID] else { preconditionFailure("each id that is used has its keys") }
        if try isInPlace(), let write = try header.overwriting(payload, keyID: keyID, keys: own, unit: unit) {
            try overwrite(write)
            header = write.header
        } else {
            let (new, content) = try header.next(keyID: keyID).encode(payload, keys: own, unit: unit)
            written = nil
            let made = try disk.replace(Self.fileName, in: directory, with: content, as: path)
            header = new
            written = try FileMark(of: made, path)
            file = consume made
        }
    }

    private func overwrite(_ write: StateFile.SlotWrite) throws(Failure) {
        switch file {
        case .none: preconditionFailure("a slot without a file")
        case .some(let file):
            try disk.write(write.bytes, to: file, at: write.offset, as: path)
            try disk.synchronizeData(file, as: path)
            written = try FileMark(of: file, path)
        }
    }

    /// Returns whether what has the state's name is the file that this store has written, as it has left it.
    private func isInPlace() throws(Failure) -> Bool {
        guard let written, let named = try directory.status(of: Self.fileName, path) else { return false }
        return FileMark(named) == written && named.st_nlink == 1
    }

    public var instance: [UInt8] { header.uuid }

    /// Records the generation, the time and the user in the index.
    ///
    /// The recorded version of libtpms is kept if `library` is nil. Throws a ``Failure`` if the index has no record of
    /// the state.
    public func recordUse(library: String? = nil) throws(Failure) {
        let (generation, name, use) = (header.generation, name, use)
        try index.transact { (records) throws(Failure) in
            guard var entry = try records.entry(name) else {
                throw Failure(
                    "cannot record the use of the state \(path)",
                    because: "the host's index does not know it any more"
                )
            }
            guard entry.uuid == header.uuid else {
                throw Failure(
                    "cannot record the use of the state \(path)",
                    because: "the host's index has another instance in its place"
                )
            }
            entry.generation = max(entry.generation, generation)
            entry.lastUse = UInt64(clamping: time(nil))
            // A container's state that a command uses is still that container's: it must not become an orphan, nor stay for
            // ever.
            if use.bundle != IndexEntry.commandBundle || entry.bundle.isEmpty {
                entry.bundle = use.bundle
                entry.containerID = use.containerID.utf8.count <= IndexEntry.containerIDLimit ? use.containerID : ""
                entry.keptFor = use.keptFor
            }
            if let library { entry.library = library }
            // The record in the state says whose the keys are, also where the index was made anew.
            for key in EndorsementHead(of: endorsement).keys
            where !entry.endorsementKeys.contains(where: { $0.first == key.first }) {
                entry.endorsementKeys.append(key)
            }
            try records.set(entry)
        }
    }

    /// Writes the state again under another master key, which all later writes use, also after an error.
    ///
    /// If the state on disk already has that key, it only ensures that the file is on stable storage.
    public func rekey(to master: MasterKey) throws(Failure) {
        try index.learn(master)
        if keys[master.id] == nil {
            keys[master.id] = try master.instanceKeys(uuid: header.uuid, stateID: header.stateID)
        }
        if case .none = header.form {
            keyID = master.id
            return
        }
        let file = try StateRepository.readFile(in: directory, path: path)
        let onDisk = try StateFile(parsing: file, path: path)
        // Nobody else writes this file, and a foreign one must not become ours. A write whose last sync failed is one
        // ahead.
        guard onDisk.uuid == header.uuid, onDisk.stateID.utf8.elementsEqual(header.stateID.utf8),
            onDisk.generation >= header.generation, onDisk.generation - header.generation <= 1,
            let old = keys[onDisk.keyID]
        else {
            throw Failure(
                "cannot change the key of the state \(path)",
                because: "the file was changed by somebody else"
            )
        }
        let payload = try onDisk.decode(file, keys: old, path: path)
        keyID = master.id
        if onDisk.keyID == master.id { return try disk.synchronize(directory, as: path) }
        try write(payload, keyID)
    }

    private init(
        _ repository: StateRepository,
        _ state: consuming LockedState,
        _ file: consuming Descriptor?,
        name: String,
        for user: StateUser,
        _ use: Use,
        _ header: StateFile,
        _ loaded: StatePayload
    ) throws(Failure) {
        // The rest of a write that a crash cut short was never acknowledged.
        try repository.disk.removeFile(Self.temporaryName, in: state.directory, as: repository.filePath(name))
        try state.lock.name(user)
        var keys: [[UInt8]: InstanceKeys] = [:]
        for master in repository.keys.all {
            keys[master.id] = try master.instanceKeys(uuid: header.uuid, stateID: header.stateID)
        }
        self.index = repository.index
        self.disk = repository.disk
        self.path = repository.filePath(name)
        self.file = file
        self.unit = repository.unit
        self.directory = state.directory
        self.lock = state.lock
        self.name = name
        self.use = use
        self.header = header
        self.keys = keys
        self.keyID = repository.keys.current.id
        self.endorsement = loaded.endorsement
        self.unknown = loaded.unknown
    }
}
