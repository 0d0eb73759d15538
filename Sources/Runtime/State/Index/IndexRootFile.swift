import Crypto
import Glibc
import Platform

/// Writes the root of the host's index and the files that a new root refers to, with the lock of the root held.
extension HostIndex {
    /// Writes the root with the counter's next value, and then increments the counter.
    ///
    /// Between the two the root is one step ahead, which is the only difference that is accepted after a crash.
    func write(_ root: inout IndexRoot) throws(Failure) {
        let keyID = root.keyID
        guard let key = keys.first(where: { $0.masterKeyID == keyID }) else {
            throw Failure("cannot write the index \(path)", because: "its key is not here")
        }
        let isNew = root.counterIdentity.isEmpty
        let content: [UInt8]
        do throws(Failure) {
            if let counter {
                if isNew {
                    root.counterIdentity = try counter.define()
                    root.counter = try counter.read(root.counterIdentity)
                }
                root.counter += 1
            }
            content = try root.encoded(with: key)
            try disk.replace(Self.fileName, in: directory, with: content, as: path)
        } catch {
            // A counter that no index is bound to would keep every container from starting.
            let isOnDisk = (try? isOnDisk(root.counterIdentity)) ?? false
            if isNew, !root.counterIdentity.isEmpty, !isOnDisk { try? counter?.remove() }
            throw error
        }
        noteDurable(content)
        if let counter, try counter.increment(root.counterIdentity) != root.counter { throw unsteady }
    }

    /// Returns whether a failed write has taken effect all the same, since the last sync alone may have failed.
    private func isOnDisk(_ identity: [UInt8]) throws(Failure) -> Bool {
        guard case .root(let root) = try load() else { return false }
        return root.counterIdentity == identity
    }

    /// Writes a whole index: a tree of all records, an empty journal, and the root.
    ///
    /// Both locks are held.
    func build(_ whole: FirstIndexFormat, keyID: [UInt8]) throws(Failure) {
        let epoch = try nextEpoch()
        let nothing = IndexNode.Reference(node: 0, slot: 0, length: 0, digest: [])
        let first = try Random.bytes(count: IndexKey.tagSize)
        var root = IndexRoot(
            keyID: keyID,
            sequence: whole.sequence,
            counter: whole.counter,
            counterIdentity: whole.counterIdentity,
            epoch: epoch,
            salt: try Random.bytes(count: IndexRoot.saltSize),
            base: whole.sequence,
            baseTag: first,
            lastTag: first,
            nodes: 0,
            top: nothing
        )
        var records: [IndexNode.Record] = []
        records.reserveCapacity(whole.entries.count)
        for (name, entry) in whole.entries {
            records.append(IndexNode.Record(key: try root.treeKey(name), bytes: try entry.encoded))
        }
        let file = try disk.create(OpenIndex.treeName(epoch), in: directory, as: path)
        var tree = IndexTree(file, nodes: 0, disk: disk, path: path)
        root.top = try tree.build(records)
        root.nodes = tree.nodes
        try tree.synchronize()
        let journal = try disk.create(OpenIndex.journalName(epoch), in: directory, as: path)
        try disk.write([UInt8](repeating: 0, count: IndexJournal.size), to: journal, at: 0, as: path)
        try disk.synchronize(journal, as: path)
        // The names of both files must be on stable storage before a root refers to them.
        try disk.synchronize(directory, as: path)
        try write(&root)
        try removeOthers(than: epoch)
    }

    /// Returns the number of an epoch that no file has.
    private func nextEpoch() throws(Failure) -> UInt64 {
        var last: UInt64 = 0
        for name in try entries(of: directory, path) { last = max(last, Self.epoch(of: name) ?? 0) }
        return last + 1
    }

    /// Removes the trees and journals of other epochs, which a crash or a rebuild has left.
    func removeOthers(than epoch: UInt64) throws(Failure) {
        for name in try entries(of: directory, path) {
            guard let other = Self.epoch(of: name), other != epoch else { continue }
            do {
                try disk.removeFile(name, in: directory, as: path)
            } catch let error where error.code == EISDIR {
                // No file of ours with this name is a directory.
            }
        }
    }

    static func epoch(of name: String) -> UInt64? {
        for prefix in ["tree.", "journal."] where name.hasPrefix(prefix) {
            let suffix = name.dropFirst(prefix.utf8.count)
            guard let epoch = UInt64(suffix), epoch < UInt64.max, String(epoch) == suffix else { return nil }
            return epoch
        }
        return nil
    }

    // MARK: - Stable storage

    /// Ensures that this root, and not the one before it, is there after a power failure.
    func makeDurable(_ root: IndexRoot) throws(Failure) {
        guard try !isDurable(root) else { return }
        try disk.synchronize(directory, as: path)
        if let content = try? encoded(root) { noteDurable(content) }
    }

    /// Returns whether a root is known to be on stable storage; its writer may have been killed before the sync.
    func isDurable(_ root: IndexRoot) throws(Failure) -> Bool {
        do {
            let file = try Descriptor.openFile(Self.rootLockName, .beneath(O_RDONLY), at: directory.number, as: path)
            let tag = try file.readAll(count: IndexKey.tagSize, at: 0, path)
            return tag == Array(try encoded(root).suffix(IndexKey.tagSize))
        } catch let error where error.code == ENOENT {
            return false
        }
    }

    private func encoded(_ root: IndexRoot) throws(Failure) -> [UInt8] {
        guard let key = keys.first(where: { $0.masterKeyID == root.keyID }) else {
            throw Failure("cannot load the index \(path)", because: "its key is not here")
        }
        return try root.encoded(with: key)
    }

    /// Records in the lock file of the root that a root is on stable storage.
    ///
    /// It is only a hint, which saves one flush.
    private func noteDurable(_ content: [UInt8]) {
        let options = OpenOptions.beneath(O_WRONLY | O_CREAT, mode: 0o600)
        guard let file = try? Descriptor.openFile(Self.rootLockName, options, at: directory.number, as: path) else {
            return
        }
        try? file.writeAll(Array(content.suffix(IndexKey.tagSize)), at: 0, path)
    }

    // MARK: - The counter

    /// The result of the comparison with the host TPM's counter.
    struct ConfirmedCounter {
        /// Whether the index has to be bound to the counter.
        var mustBind = false
        /// The value that both had; 0 without a counter.
        var value: UInt64 = 0
    }

    /// Compares the root with the host TPM's counter.
    ///
    /// It takes the lock of the root, which is held from the write of a root until the counter is incremented.
    func confirmCounter() throws(Failure) -> ConfirmedCounter {
        let file = try load()
        let isBound = !(file?.counterIdentity.isEmpty ?? true)
        guard counter != nil || isBound else { return ConfirmedCounter() }
        return try lockRoot().run { () throws(Failure) in
            guard let file = try load() else { return ConfirmedCounter(mustBind: try confirm([], 0)) }
            return ConfirmedCounter(mustBind: try confirm(file.counterIdentity, file.counter), value: file.counter)
        }
    }

    /// Compares the root with the host TPM's counter again if another process has written a root since.
    ///
    /// The lock of the root is held. That process may have been killed before it incremented the counter.
    /// So no root gets two steps ahead, and nobody is told that the counter is up to date when it is not.
    func confirmAgain(_ root: IndexRoot, _ confirmed: ConfirmedCounter) throws(Failure) {
        guard counter != nil || !root.counterIdentity.isEmpty, root.counter != confirmed.value else { return }
        _ = try confirm(root.counterIdentity, root.counter)
    }

    private func confirm(_ identity: [UInt8], _ expected: UInt64) throws(Failure) -> Bool {
        let what = "cannot trust the index \(path)"
        let hint = "if that is meant, have all states accepted as they are: vtpmctl state accept --all"
        switch (identity.isEmpty, counter) {
        case (true, nil): return false
        case (false, nil):
            throw Failure(
                what,
                because: "it is bound to the host TPM's counter, and the configuration says that there is none",
                hint: hint
            )
        case (true, .some(let counter)):
            guard try !counter.exists() else {
                throw Failure(
                    what,
                    because: "the host's TPM has a counter of ours and the index is not bound to it: "
                        + "it is another host's or an earlier one",
                    hint: hint
                )
            }
            // The next write binds the index, and it has to follow now.
            return true
        case (false, .some(let counter)):
            let value = try counter.read(identity)
            if expected == value { return false }
            guard expected > value, expected - value == 1 else {
                throw Failure(
                    what,
                    because: expected < value
                        ? "it belongs to counter value \(expected), and the host's TPM is at \(value): "
                            + "an earlier one was put back"
                        : "it belongs to counter value \(expected), and the host's TPM is at \(value) only",
                    hint: hint
                )
            }
            // The crash was between the two, perhaps before the file was synced: the file must not fall behind the
            // counter.
            try disk.synchronize(directory, as: path)
            guard try counter.increment(identity) == expected else { throw unsteady }
            return false
        }
    }

    private var unsteady: Failure {
        Failure("cannot trust the index \(path)", because: "somebody else raises the host TPM's counter")
    }
}

extension IndexFile {
    /// The bytes that identify the host TPM's counter; empty if the index is not bound to one.
    var counterIdentity: [UInt8] {
        switch self {
        case .first(let first, _): first.counterIdentity
        case .root(let root): root.counterIdentity
        }
    }

    /// The value of the counter that belongs to the content; 0 without one.
    var counter: UInt64 {
        switch self {
        case .first(let first, _): first.counter
        case .root(let root): root.counter
        }
    }
}
