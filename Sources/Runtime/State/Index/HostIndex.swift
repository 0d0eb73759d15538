import Glibc
import Platform

/// The host's record of its states, which reveals an older or a copied state file.
///
/// It is written when a state is created or discarded, at each start and stop of a vTPM, and by `vtpmctl`. A write of a
/// vTPM's state does not change it. The cost of a change does not depend on the number of states. A change is appended
/// to a journal. Then the root is replaced, which vouches for the journal and has its last entries in it, once for all
/// concurrent changes. From time to time these entries are flushed to the journal, and the journal's changes are folded
/// into a tree.
///
/// Two locks order its users. The lock of the contents is held while the contents are read and a change is appended,
/// and normally over no flush. The lock of the root is held while the root is replaced; those
/// who wait for it find that their change has been committed. A fold and a rebuild hold both. A process that needs both
/// takes the root's first.
public final class HostIndex {
    static let fileName = "index"
    static let lockName = "lock"
    /// The lock of the root; the file holds the tag of the last root that is known to be on stable storage.
    static let rootLockName = "root"
    /// Returns the names of the index's files in a directory, all of which have to be usable.
    package static func fileNames(in directory: borrowing Descriptor) throws(Failure) -> [String] {
        try entries(of: directory, "the index's directory").filter {
            [fileName, lockName, rootLockName].contains($0) || epoch(of: $0) != nil
        }
    }

    /// How long to wait for others, in milliseconds, who hold the locks for a few flushes.
    public var timeout = 30_000

    /// Whether a wait may use a signal, which the filter of a confined supervisor refuses.
    public var mayUseSignals = true

    package let path: String
    let directory: Descriptor
    let counter: (any MonotonicCounter)?
    let disk: any Disk
    private(set) var keys: [IndexKey]
    let newKeyID: [UInt8]

    /// Creates an index in the open directory of that path; reads and writes nothing yet.
    ///
    /// It may be authenticated with any of the keys; a new index gets the current one. It is, or becomes, bound to the
    /// counter.
    public init(
        in directory: consuming Descriptor,
        path: String,
        keys: KeyRing,
        counter: (any MonotonicCounter)? = nil,
        disk: any Disk = LocalDisk()
    ) throws(Failure) {
        var derived: [IndexKey] = []
        for key in keys.all { derived.append(try IndexKey(key)) }
        self.keys = derived
        self.newKeyID = keys.current.id
        self.path = "\(path)/\(Self.fileName)"
        self.directory = directory
        self.counter = counter
        self.disk = disk
    }

    /// Returns whether an index directory has an index in it.
    public static func exists(in directory: borrowing Descriptor) -> Bool {
        faccessat(directory.number, fileName, F_OK, 0) == 0
    }

    /// Adds a master key that the index may be authenticated with from now on.
    package func learn(_ key: MasterKey) throws(Failure) {
        guard !keys.contains(where: { $0.masterKeyID == key.id }) else { return }
        keys.append(try IndexKey(key))
    }

    // MARK: - Changes

    /// Reads records and changes some.
    ///
    /// When it returns, the changes are on stable storage, and the host TPM's counter is up to date.
    ///
    /// - Parameters:
    ///   - isFirstUse: Called if there is no index; returns whether the host has no state yet that the index should
    ///     know.
    ///   - body: Reads the records and changes a few of them; it is called once.
    /// - Returns: The result of `body`.
    /// - Throws: ``Failure`` that tells whether the index is missing, damaged, older than the counter, or unreachable.
    ///   Nothing is changed then, nor if `body` throws. If a write failed, the changes may still take effect.
    package func transact<Result>(
        isFirstUse: () throws(Failure) -> Bool = { () throws(Failure) in false },
        _ body: (inout IndexTransaction) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        let confirmed = try confirmCounter()
        while true {
            let lock = try lockContents()
            guard case .root(let root) = try load() else {
                lock.release()
                if let result = try rebuild(isFirstUse: isFirstUse, body) { return result }
                continue
            }
            let index = try open(root)
            // The journal needs room for any change, since `body` is called only once.
            guard index.journal.end <= IndexJournal.target else {
                lock.release()
                try commit(nil, confirmed)
                continue
            }
            var transaction = IndexTransaction { (name) throws(Failure) in try index.entry(name) }
            let result = try body(&transaction)
            if transaction.changes.isEmpty, !confirmed.mustBind, root.counter == confirmed.value,
                try isStable(transaction.names, in: index)
            {
                return result
            }
            let sequence = try append(transaction.changes, to: index)
            lock.release()
            try commit((root.epoch, sequence), confirmed)
            return result
        }
    }

    /// Returns whether the records of these states are on stable storage.
    ///
    /// Their writer may have been killed before the sync, and what is built on them must not be lost with them.
    private func isStable(_ names: Set<String>, in index: OpenIndex) throws(Failure) -> Bool {
        guard !index.journal.changes[index.journal.vouched...].contains(where: { names.contains($0.name) }) else {
            return false
        }
        return try isDurable(index.root)
    }

    /// Appends changes to the journal as one entry, which is not synced; returns the sequence of the last entry.
    private func append(_ changes: [IndexChange], to index: OpenIndex) throws(Failure) -> UInt64 {
        guard !changes.isEmpty else { return index.journal.sequence }
        // The entries that the root before this one vouches for must not be overwritten while that root is the one on
        // stable storage.
        if index.journal.end == 0, try !isDurable(index.root) { try disk.synchronize(directory, as: path) }
        guard let (bytes, offset) = try index.journal.append(changes, key: index.key) else {
            throw Failure("cannot write the index \(path)", because: "it cannot take so many changes at once")
        }
        try disk.write(bytes, to: index.journalFile, at: offset, as: path)
        return index.journal.sequence
    }

    /// Lets the root vouch for the journal and waits until that is on stable storage.
    ///
    /// Throws a ``Failure`` if the index was rebuilt meanwhile without the given change. If the journal is more than
    /// half full, it is folded into the tree instead.
    func commit(
        _ change: (epoch: UInt64, sequence: UInt64)?,
        _ confirmed: ConfirmedCounter
    ) throws(Failure) {
        try lockRoot().run { () throws(Failure) in
            let lock = try lockContents()
            guard case .root(let root) = try load() else { throw remade }
            let index = try open(root)
            // `vtpmctl state accept --all` may have rebuilt the index without the change.
            if let change, root.epoch != change.epoch || index.journal.sequence < change.sequence { throw remade }
            try confirmAgain(root, confirmed)
            guard index.journal.end <= IndexJournal.target else {
                try fold(index)
                return lock.release()
            }
            lock.release()
            if let change, root.sequence >= change.sequence, !confirmed.mustBind || !root.counterIdentity.isEmpty {
                return try makeDurable(root)
            }
            try index.vouch(disk, path: path)
            try write(&index.root)
        }
    }

    /// Folds the journal's changes into the tree, with both locks held.
    private func fold(_ index: OpenIndex, keyID: [UInt8]? = nil) throws(Failure) {
        // If this root is not on stable storage, the one before it may reappear after a power failure. The next nodes
        // would then overwrite its own.
        try makeDurable(index.root)
        try index.fold()
        try index.tree.synchronize()
        if let keyID { index.root.keyID = keyID }
        try write(&index.root)
        try removeOthers(than: index.root.epoch)
    }

    /// Writes the index under the current key.
    public func reencrypt() throws(Failure) {
        let confirmed = try confirmCounter()
        let rootLock = try lockRoot()
        let lock = try lockContents()
        switch try load() {
        case .root(let root):
            let index = try open(root)
            try confirmAgain(root, confirmed)
            try fold(index, keyID: newKeyID)
        case .first(let first, _):
            try build(first, keyID: newKeyID)
        case nil:
            throw missing
        }
        lock.release()
        rootLock.release()
    }

    /// Replaces any index with a new one of these entries, bound to a new counter if the host has one.
    public func rebuild(_ entries: [IndexEntry]) throws(Failure) {
        let rootLock = try lockRoot()
        let lock = try lockContents()
        if let counter, try counter.exists() { try counter.remove() }
        var whole = FirstIndexFormat()
        for entry in entries { whole.entries[try StateDirectoryName.encoded(entry.stateID)] = entry }
        try build(whole, keyID: newKeyID)
        lock.release()
        rootLock.release()
    }

    /// Changes an index that does not exist yet, or that has its first format; writes the latest format.
    ///
    /// Returns nil if another process has written it meanwhile.
    private func rebuild<Result>(
        isFirstUse: () throws(Failure) -> Bool,
        _ body: (inout IndexTransaction) throws(Failure) -> Result
    ) throws(Failure) -> Result? {
        try lockRoot().run { () throws(Failure) in
            try lockContents().run { () throws(Failure) in
                var whole = FirstIndexFormat()
                var keyID = newKeyID
                switch try load() {
                case .root: return nil
                case .first(let first, let id): (whole, keyID) = (first, id)
                case nil: guard try isFirstUse() else { throw missing }
                }
                let entries = whole.entries
                var transaction = IndexTransaction { (name) throws(Failure) in entries[name] }
                let result = try body(&transaction)
                for change in transaction.changes { whole.entries[change.name] = change.entry }
                try build(whole, keyID: keyID)
                return result
            }
        }
    }

    // MARK: - Reading

    func load() throws(Failure) -> IndexFile? {
        do {
            let file = try Descriptor.openFile(Self.fileName, .beneath(O_RDONLY), at: directory.number, as: path)
            return try IndexFile(parsing: file.readAll(limit: IndexFile.sizeLimit, path), keys: keys, path: path)
        } catch let error where error.code == ENOENT {
            return nil
        }
    }

    /// Returns what identifies the counter that the index is bound to, and the value that belongs to it; nil if it is bound to
    /// none.
    func counterReading() throws(Failure) -> (identity: [UInt8], value: UInt64)? {
        guard counter != nil, case .root(let root)? = try load(), !root.counterIdentity.isEmpty else { return nil }
        return (root.counterIdentity, root.counter)
    }

    func open(_ root: IndexRoot) throws(Failure) -> OpenIndex {
        guard let key = keys.first(where: { $0.masterKeyID == root.keyID }) else {
            throw Failure("cannot load the index \(path)", because: "its key is not here")
        }
        return try OpenIndex(root, key: key, in: directory, disk: disk, path: path)
    }

    private var remade: Failure {
        Failure(
            "cannot write the index \(path)",
            because: "somebody has made it anew meanwhile, without this change",
            hint: "vtpmctl state verify"
        )
    }

    /// The error for a missing index.
    package var missing: Failure {
        Failure(
            "cannot load the index \(path)",
            because: "it is missing, and there are states that it should know",
            hint: "restore it from a backup, or have all states accepted as they are: vtpmctl state accept --all"
        )
    }

    // MARK: - Locks

    func lockContents() throws(Failure) -> FileLock {
        try FileLock(Self.lockName, in: directory, until: deadline, mayUseSignals: mayUseSignals, "the index")
    }

    func lockRoot() throws(Failure) -> FileLock {
        try FileLock(
            Self.rootLockName,
            in: directory,
            until: deadline,
            mayUseSignals: mayUseSignals,
            "the index's root"
        )
    }

    private var deadline: Deadline { Deadline(milliseconds: timeout) }
}
