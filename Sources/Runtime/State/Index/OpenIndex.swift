import Glibc
import Platform

/// An index in a format after the first, at one moment: the root, the journal after it, and the tree below it.
final class OpenIndex {
    var root: IndexRoot
    var journal: IndexJournal
    var tree: IndexTree
    /// The entries that may not be on stable storage in the journal's file, and where they begin in it, in bytes.
    private let unflushed: (start: Int, bytes: [UInt8])
    let journalFile: Descriptor
    let key: IndexKey

    static func treeName(_ epoch: UInt64) -> String { "tree.\(epoch)" }
    static func journalName(_ epoch: UInt64) -> String { "journal.\(epoch)" }

    /// Opens the files that a root refers to.
    ///
    /// Throws a ``Failure`` if one is missing, or if the journal does not match the root.
    init(
        _ root: IndexRoot,
        key: IndexKey,
        in directory: borrowing Descriptor,
        disk: any Disk,
        path: String
    ) throws(Failure) {
        let journalFile = try Self.open(Self.journalName(root.epoch), in: directory, path)
        var content = try journalFile.readAll(count: IndexJournal.size + 1, at: 0, path)
        let tail = root.tailStart..<root.tailStart + root.tail.count
        if tail.upperBound <= content.count { content.replaceSubrange(tail, with: root.tail) }
        let journal = try IndexJournal(parsing: content, root: root, key: key, path: path)
        let start = root.tail.isEmpty ? journal.vouchedEnd : root.tailStart
        guard start <= journal.end else {
            throw Failure("cannot load the index \(path)", because: "its journal is damaged")
        }
        self.unflushed = (start, Array(content[start..<journal.end]))
        self.journal = journal
        let treeFile = try Self.open(Self.treeName(root.epoch), in: directory, path)
        self.tree = IndexTree(treeFile, nodes: root.nodes, disk: disk, path: path)
        self.journalFile = journalFile
        self.root = root
        self.key = key
    }

    private static func open(
        _ name: String,
        in directory: borrowing Descriptor,
        _ path: String
    ) throws(Failure) -> Descriptor {
        do {
            return try .openFile(name, .beneath(O_RDWR), at: directory.number, as: "\(path)'s \(name)")
        } catch let error where error.code == ENOENT {
            throw Failure(
                "cannot load the index \(path)",
                because: "its file \(name) is missing",
                hint: "restore all of its files from a backup"
            )
        }
    }

    /// Returns the record of one state, or nil if there is none.
    func entry(_ name: String) throws(Failure) -> IndexEntry? {
        if let change = journal.changes.last(where: { $0.name == name }) { return change.entry }
        guard let record = try tree.record(root.treeKey(name), below: root.top) else { return nil }
        return try Self.decode(record, name)
    }

    /// Decodes a record of the tree.
    ///
    /// Throws a ``Failure`` if it is malformed, or that of a state with another directory name than the given one.
    static func decode(_ record: [UInt8], _ name: String? = nil) throws(Failure) -> IndexEntry {
        let damaged = Failure("cannot load the host's index", because: "a record in it is damaged")
        guard let entry = try IndexEntry(decoding: record) else { throw damaged }
        if let name { guard try StateDirectoryName.encoded(entry.stateID) == name else { throw damaged } }
        return entry
    }

    /// Has the root vouch for all entries of the journal.
    ///
    /// The entries that may not be on stable storage become the root's tail. If there are too many of them, they are
    /// flushed to the journal's file. They are written to it again before: after a failed write-back the kernel marks the
    /// pages clean, and another process may have got that error, which is reported once (fsync(2), NOTES).
    func vouch(_ disk: any Disk, path: String) throws(Failure) {
        if unflushed.bytes.count <= IndexRoot.tailLimit {
            (root.tailStart, root.tail) = unflushed
        } else {
            try disk.write(unflushed.bytes, to: journalFile, at: unflushed.start, as: path)
            try disk.synchronizeData(journalFile, as: path)
            (root.tailStart, root.tail) = (journal.end, [])
        }
        root.sequence = journal.sequence
        root.lastTag = journal.tag
    }

    /// Folds the journal's changes into the tree and updates the root in memory.
    ///
    /// It writes only to the unused places of nodes, and does not sync.
    func fold() throws(Failure) {
        var last: [String: IndexEntry?] = [:]
        for change in journal.changes { last[change.name] = .some(change.entry) }
        var changes: [IndexTree.Change] = []
        for (name, entry) in last {
            var bytes: [UInt8]?
            if let entry { bytes = try entry.encoded }
            changes.append(IndexTree.Change(key: try root.treeKey(name), bytes: bytes))
        }
        changes.sort { $0.key.lexicographicallyPrecedes($1.key) }
        if !changes.isEmpty { root.top = try tree.apply(changes, to: root.top) }
        root.nodes = tree.nodes
        root.sequence = journal.sequence
        root.lastTag = journal.tag
        root.base = journal.sequence
        root.baseTag = journal.tag
        (root.tailStart, root.tail) = (0, [])
    }
}
