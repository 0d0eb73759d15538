import Glibc
import Platform

/// A counter that never goes back, kept where a copy of the disk is not: in the host's TPM.
public protocol MonotonicCounter {
    /// Whether there is one already.
    func exists() throws(Failure) -> Bool
    /// Makes it; returns what it is recognized by from now on.
    func define() throws(Failure) -> [UInt8]
    /// Removes it.
    func remove() throws(Failure)
    /// Its value; a counter that is not the one with this identity is a ``Failure``.
    func read(_ identity: [UInt8]) throws(Failure) -> UInt64
    /// Raises it by one; returns the new value.
    func increment(_ identity: [UInt8]) throws(Failure) -> UInt64
}

/// The host's memory of its states, which an older or a copied state file is found out by.
///
/// It is written when a state is made and at each start and stop of a vTPM, never in between. Where it is bound to the
/// counter of a host TPM, the file is written with the counter's next value and then the counter is raised: after a crash
/// in between the file is one step ahead, which is the one step that is tolerated.
public final class HostIndex {
    static let fileName = "index"
    static let lockName = "lock"
    /// What is in its directory and has to be usable.
    package static let fileNames = [fileName, lockName]
    /// How long to wait for others that are at it, in milliseconds.
    static let patience = 30_000

    package let path: String
    private let directory: Descriptor
    private let counter: (any MonotonicCounter)?
    private let disk: any Disk
    private var keys: [IndexKey]
    private let newKeyID: [UInt8]

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

    /// Reads the entries, with all others kept out, and writes them back where they were changed.
    ///
    /// - Parameters:
    ///   - isFirstUse: Asked where there is no index: whether there is nothing yet that it should know.
    ///   - body: Looks at the entries, by the names of the states' directories, and changes them.
    /// - Returns: What `body` returns.
    /// - Throws: ``Failure`` that tells how the index is missing, damaged, older than the counter, or unreachable; then,
    ///   and when `body` throws, nothing was changed.
    package func transact<Result>(
        isFirstUse: () throws(Failure) -> Bool = { () throws(Failure) in false },
        _ body: (inout [String: IndexEntry]) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        let lock = try FileLock(Self.lockName, in: directory, until: Deadline(milliseconds: Self.patience), "the index")
        defer { withExtendedLifetime(lock) {} }
        var (file, isChanged) = try load(isFirstUse: isFirstUse)
        isChanged = try confirm(&file) || isChanged
        let before = file.entries
        let result = try body(&file.entries)
        if isChanged || file.entries != before {
            try write(&file)
        } else {
            // Whoever wrote it may have been killed before it was synced.
            try disk.synchronize(directory, as: path)
        }
        return result
    }

    /// Writes it anew under the current key.
    public func rewrap() throws(Failure) {
        let lock = try FileLock(Self.lockName, in: directory, until: Deadline(milliseconds: Self.patience), "the index")
        defer { withExtendedLifetime(lock) {} }
        var (file, isChanged) = try load(isFirstUse: { () throws(Failure) in false })
        isChanged = try confirm(&file) || isChanged
        // The old key may be thrown away as soon as this returns, so that it has to be on disk in any case.
        guard isChanged || file.keyID != newKeyID else { return try disk.synchronize(directory, as: path) }
        file.keyID = newKeyID
        try write(&file)
    }

    /// Makes a new index in place of whatever is there, bound to a new counter where there is to be one.
    public func remake(_ entries: [IndexEntry]) throws(Failure) {
        let lock = try FileLock(Self.lockName, in: directory, until: Deadline(milliseconds: Self.patience), "the index")
        defer { withExtendedLifetime(lock) {} }
        var file = IndexFile(keyID: newKeyID)
        if let counter, try counter.exists() { try counter.remove() }
        for entry in entries { file.entries[try StateName.encoded(entry.stateID)] = entry }
        try write(&file)
    }

    /// Which master key it needs; nothing where there is no index.
    public func keyID() throws(Failure) -> [UInt8]? {
        guard let content = try read() else { return nil }
        return try IndexFile(parsing: content, keys: keys, path: path).keyID
    }

    /// The entries as they are, without a look at the counter and without a lock: for lists.
    public func peek() throws(Failure) -> [String: IndexEntry] {
        guard let content = try read() else { return [:] }
        return try IndexFile(parsing: content, keys: keys, path: path).entries
    }

    private func load(isFirstUse: () throws(Failure) -> Bool) throws(Failure) -> (IndexFile, isNew: Bool) {
        if let content = try read() { return (try IndexFile(parsing: content, keys: keys, path: path), false) }
        guard try isFirstUse() else {
            throw Failure(
                "cannot load the index \(path)",
                because: "it is missing, and there are states that it should know",
                remedy: "restore it from a backup, or have all states accepted as they are: vtpmctl state accept --all"
            )
        }
        return (IndexFile(keyID: newKeyID), true)
    }

    private func read() throws(Failure) -> [UInt8]? {
        do {
            let file = try Descriptor.open(Self.fileName, .beneath(O_RDONLY), at: directory.number, as: path)
            return try file.readAll(limit: IndexFile.sizeLimit, path)
        } catch let error where error.code == ENOENT {
            return nil
        }
    }

    /// Compares with the host TPM's counter; true where the file has to be written.
    private func confirm(_ file: inout IndexFile) throws(Failure) -> Bool {
        let what = "cannot trust the index \(path)"
        let remedy = "if that is meant, have all states accepted as they are: vtpmctl state accept --all"
        switch (file.counterIdentity.isEmpty, counter) {
        case (true, nil): return false
        case (false, nil):
            throw Failure(
                what,
                because: "it is bound to the host TPM's counter, and the configuration says that there is none",
                remedy: remedy
            )
        case (true, .some(let counter)):
            guard try !counter.exists() else {
                throw Failure(
                    what,
                    because: "the host's TPM has a counter of ours and the index is not bound to it: "
                        + "it is another host's or an earlier one",
                    remedy: remedy
                )
            }
            // It is bound when it is written, which it has to be now.
            return true
        case (false, .some(let counter)):
            let value = try counter.read(file.counterIdentity)
            if file.counter == value { return false }
            guard file.counter == value + 1 else {
                throw Failure(
                    what,
                    because: file.counter < value
                        ? "it belongs to counter value \(file.counter), and the host's TPM is at \(value): "
                            + "an earlier one was put back"
                        : "it belongs to counter value \(file.counter), and the host's TPM is at \(value) only",
                    remedy: remedy
                )
            }
            // The crash came between the two, perhaps before the file was synced: it must not fall behind the counter.
            try disk.synchronize(directory, as: path)
            guard try counter.increment(file.counterIdentity) == file.counter else { throw unsteady }
            return false
        }
    }

    private func write(_ file: inout IndexFile) throws(Failure) {
        let keyID = file.keyID
        guard let key = keys.first(where: { $0.masterKeyID == keyID }) else {
            preconditionFailure("the index was read or made with one of these keys")
        }
        file.sequence += 1
        let isNew = file.counterIdentity.isEmpty
        do throws(Failure) {
            if let counter {
                if isNew {
                    file.counterIdentity = try counter.define()
                    file.counter = try counter.read(file.counterIdentity)
                }
                file.counter += 1
            }
            let content = try file.encoded(with: key)
            guard content.count <= IndexFile.sizeLimit else {
                throw Failure(
                    "cannot write the index \(path)",
                    because: "it would be larger than \(IndexFile.sizeLimit) bytes",
                    remedy: "remove states that nobody needs: vtpmctl state list, vtpmctl state purge"
                )
            }
            try disk.replace(Self.fileName, in: directory, with: content, as: path)
        } catch {
            // A counter that no index is bound to would keep every container from starting.
            let isOnDisk = (try? isOnDisk(file)) ?? false
            if isNew, !file.counterIdentity.isEmpty, !isOnDisk { try? counter?.remove() }
            throw error
        }
        if let counter, try counter.increment(file.counterIdentity) != file.counter { throw unsteady }
    }

    /// Whether a write that failed has come through all the same: the last sync may have failed alone.
    private func isOnDisk(_ file: IndexFile) throws(Failure) -> Bool {
        guard let content = try read() else { return false }
        return try IndexFile(parsing: content, keys: keys, path: path).counterIdentity == file.counterIdentity
    }

    private var unsteady: Failure {
        Failure("cannot trust the index \(path)", because: "somebody else raises the host TPM's counter")
    }
}
