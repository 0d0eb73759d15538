import Glibc
import Platform

/// The host's memory of its states, which an older or a copied state file is found out by.
///
/// It is written when a state is made and at each start and stop of a vTPM, never in between. What one of these costs
/// does not depend on how many states there are: a change is added to a journal, one flush for all that come at the same
/// time; then the root vouches for it, again once for all. Now and then what is in the journal is put into a tree.
///
/// Two locks order its users. The lock of the contents is held while they are read and a change is added, and over no
/// flush. The lock of the root is held by whoever flushes the journal and replaces the root; those who wait for it
/// meanwhile find that it was done for them. Who needs both takes the root's first.
public final class HostIndex {
    static let fileName = "index"
    static let lockName = "lock"
    /// The lock of the root; in it is the tag of the last root that is known to be on stable storage.
    static let rootLockName = "root"
    /// The files that are in its directory, which have to be usable.
    package static func fileNames(in directory: borrowing Descriptor) throws(Failure) -> [String] {
        try entries(of: directory, "the index's directory").filter {
            [fileName, lockName, rootLockName].contains($0) || epoch(of: $0) != nil
        }
    }

    /// How long to wait for others, in milliseconds.
    static let timeout = 30_000

    package let path: String
    let directory: Descriptor
    let counter: (any MonotonicCounter)?
    let disk: any Disk
    private(set) var keys: [IndexKey]
    let newKeyID: [UInt8]

    /// An index in an open directory of that path.
    ///
    /// The keys are those that it may be authenticated with; a new index is made with the current one. The counter is the
    /// one that it is, or gets, bound to.
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

    /// Whether an index directory has an index in it.
    public static func exists(in directory: borrowing Descriptor) -> Bool {
        faccessat(directory.number, fileName, F_OK, 0) == 0
    }

    /// Has it know one more master key, which the index may be authenticated with from now on.
    package func learn(_ key: MasterKey) throws(Failure) {
        guard !keys.contains(where: { $0.masterKeyID == key.id }) else { return }
        keys.append(try IndexKey(key))
    }

    // MARK: - Changes

    /// Reads records, and changes some.
    ///
    /// When it returns, the changes are on stable storage, and the host TPM's counter knows of them.
    ///
    /// - Parameters:
    ///   - isFirstUse: Asked if there is no index: whether there is nothing yet that it should know.
    ///   - body: Looks at the records, and changes a few of them; it is called once.
    /// - Returns: What `body` returns.
    /// - Throws: ``Failure`` that tells how the index is missing, damaged, older than the counter, or unreachable; then,
    ///   and when `body` throws, nothing was changed. If a write failed, the changes may come to be all the same.
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
            // Room for any change, so that `body` is called once.
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

    /// Whether what was read of these states is on stable storage.
    ///
    /// Whoever wrote it may have been killed before it was synced, and what is built on it must not be lost with it.
    private func isStable(_ names: Set<String>, in index: OpenIndex) throws(Failure) -> Bool {
        guard !index.journal.changes[index.journal.vouched...].contains(where: { names.contains($0.name) }) else {
            return false
        }
        return try isDurable(index.root)
    }

    /// Adds changes to the journal; returns the sequence of its last entry.
    ///
    /// Nothing is synced.
    private func append(_ changes: [IndexChange], to index: OpenIndex) throws(Failure) -> UInt64 {
        guard !changes.isEmpty else { return index.journal.sequence }
        // What the root before this one vouches for must not be overwritten while it is the one on stable storage.
        if index.journal.end == 0, try !isDurable(index.root) { try disk.synchronize(directory, as: path) }
        guard let (bytes, offset) = try index.journal.append(changes, key: index.key) else {
            throw Failure("cannot write the index \(path)", because: "it cannot take so many changes at once")
        }
        try disk.write(bytes, to: index.journalFile, at: offset, as: path)
        return index.journal.sequence
    }

    /// Has the root vouch for the journal, up to a change in it if one is given, and waits until that is on stable storage.
    func commit(
        _ change: (epoch: UInt64, sequence: UInt64)?,
        _ confirmed: ConfirmedCounter
    ) throws(Failure) {
        try lockRoot().run { () throws(Failure) in
            let lock = try lockContents()
            guard case .root(let root) = try load() else { throw remade }
            let index = try open(root)
            // `vtpmctl state accept --all` may have made it anew, without the change.
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
            // The kernel keeps what it could not write as if it had: a flush that failed for another one is told once
            // (fsync(2), NOTES), so what is to be vouched for is written again.
            let unvouched = index.journal.vouchedEnd
            let bytes = try index.journalFile.readAll(count: index.journal.end - unvouched, at: unvouched, path)
            try disk.write(bytes, to: index.journalFile, at: unvouched, as: path)
            try disk.synchronizeData(index.journalFile, as: path)
            index.root.sequence = index.journal.sequence
            index.root.lastTag = index.journal.tag
            try write(&index.root)
        }
    }

    /// Puts the journal's changes into the tree.
    ///
    /// Both locks are held.
    private func fold(_ index: OpenIndex, keyID: [UInt8]? = nil) throws(Failure) {
        // A root that is not on stable storage may be followed, after a power failure, by the one before it, whose nodes are
        // where the next ones go.
        try makeDurable(index.root)
        try index.fold()
        try index.tree.synchronize()
        if let keyID { index.root.keyID = keyID }
        try write(&index.root)
        try removeOthers(than: index.root.epoch)
    }

    /// Writes it anew under the current key.
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

    /// Makes a new index in place of whatever is there, bound to a new counter if there is to be one.
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

    /// A change of an index that is to be made, or that has its first format.
    ///
    /// Returns nil if somebody else was faster.
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

    /// What is said if there is no index.
    package var missing: Failure {
        Failure(
            "cannot load the index \(path)",
            because: "it is missing, and there are states that it should know",
            hint: "restore it from a backup, or have all states accepted as they are: vtpmctl state accept --all"
        )
    }

    // MARK: - Locks

    func lockContents() throws(Failure) -> FileLock {
        try FileLock(Self.lockName, in: directory, until: Deadline(milliseconds: Self.timeout), "the index")
    }

    func lockRoot() throws(Failure) -> FileLock {
        try FileLock(Self.rootLockName, in: directory, until: Deadline(milliseconds: Self.timeout), "the index's root")
    }
}
