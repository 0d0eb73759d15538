import Crypto
import Platform

/// A change of the host's index, of one state's record.
struct IndexChange: Equatable {
    /// The name of the state's directory.
    var name: String
    /// The new record; nil if the state is forgotten.
    var entry: IndexEntry?
}

/// The journal of the host's index: changes that are not in its tree yet.
///
/// It is the file `journal.N`. Its size never changes, so one flush of data puts a change on stable storage. Each entry
/// is authenticated together with all before it:
///
///     length    32 bits  of the changes with their number, in bytes
///     sequence  64 bits  one more than that of the entry before
///     changes   16 bits  how many, then each: 1 and a record after its length of 32 bits, or 0 and a name (text)
///     tag       32 bytes HMAC-SHA-256 of the tag before it and the fields above
///
/// The bytes after the last entry have no meaning: they are from an earlier use of the file, or a write that was cut
/// short.
struct IndexJournal {
    /// The size of the file, in bytes.
    static let size = 64 * 1024
    /// The size in bytes; if the entries exceed it, they are folded into the tree.
    static let target = size / 2

    /// The changes, the oldest first.
    private(set) var changes: [IndexChange] = []
    /// The number of changes that the root vouches for.
    private(set) var vouched = 0
    /// The end of the entries that the root vouches for, in bytes from the start.
    private(set) var vouchedEnd = 0
    /// The sequence of the last entry; the root's base if there is none.
    private(set) var sequence: UInt64
    /// The tag of the last entry; the root's base tag if there is none.
    private(set) var tag: [UInt8]
    /// The offset of the next entry, in bytes from the start.
    private(set) var end = 0

    /// Reads the entries that follow the tree of a root.
    ///
    /// Throws a ``Failure`` if an entry that the root vouches for is missing or damaged.
    init(parsing file: [UInt8], root: IndexRoot, key: IndexKey, path: String) throws(Failure) {
        func damaged(_ why: String = "its journal is damaged") -> Failure {
            Failure("cannot load the index \(path)", because: why, hint: "restore all of its files from a backup")
        }
        guard file.count >= Self.size else { throw damaged("its journal is truncated") }
        guard file.count == Self.size else { throw damaged() }
        self.sequence = root.base
        self.tag = root.baseTag
        var reader = ByteReader(file)
        while let entry = try Self.next(&reader, after: sequence, tag, key: key) {
            sequence += 1
            tag = entry.tag
            end = reader.offset
            guard sequence != root.sequence || tag == root.lastTag else { throw damaged() }
            guard let changes = try Self.changes(entry.body) else { throw damaged() }
            self.changes += changes
            if sequence <= root.sequence { (vouched, vouchedEnd) = (self.changes.count, end) }
        }
        guard sequence >= root.sequence else { throw damaged() }
        guard root.sequence > root.base || root.lastTag == root.baseTag else { throw damaged() }
    }

    private static func next(
        _ reader: inout ByteReader,
        after sequence: UInt64,
        _ tag: [UInt8],
        key: IndexKey
    ) throws(Failure) -> (body: [UInt8], tag: [UInt8])? {
        guard let length = reader.read(UInt32.self), let number = reader.read(UInt64.self),
            sequence < UInt64.max, number == sequence + 1,
            let body = reader.read(count: Int(length)), let own = reader.read(count: IndexKey.tagSize),
            HMACSHA256.areEqual(try key.tag(of: tag + head(number, body) + body), own)
        else { return nil }
        return (body, own)
    }

    private static func head(_ sequence: UInt64, _ body: [UInt8]) -> [UInt8] {
        var writer = ByteWriter()
        writer.write(UInt32(body.count))
        writer.write(sequence)
        return writer.bytes
    }

    /// Decodes the changes of an entry whose tag is valid; returns nil if they are malformed.
    private static func changes(_ body: [UInt8]) throws(Failure) -> [IndexChange]? {
        var reader = ByteReader(body)
        guard let count = reader.read(UInt16.self) else { return nil }
        var changes: [IndexChange] = []
        for _ in 0..<count {
            switch reader.read(UInt8.self) {
            case 1:
                guard let length = reader.read(UInt32.self), let record = reader.read(count: Int(length)),
                    let entry = try IndexEntry(decoding: record)
                else { return nil }
                changes.append(IndexChange(name: try StateDirectoryName.encoded(entry.stateID), entry: entry))
            case 0:
                guard let name = reader.readText() else { return nil }
                changes.append(IndexChange(name: name, entry: nil))
            default: return nil
            }
        }
        return reader.remaining == 0 ? changes : nil
    }

    /// Appends an entry in memory; returns its bytes and their offset in the file, or nil if there is no room for it.
    mutating func append(
        _ new: [IndexChange],
        key: IndexKey
    ) throws(Failure) -> (bytes: [UInt8], offset: Int)? {
        var body = ByteWriter()
        body.write(UInt16(new.count))
        for change in new {
            if let entry = change.entry {
                let record = try entry.encoded
                body.write(UInt8(1))
                body.write(UInt32(record.count))
                body.write(record)
            } else {
                body.write(UInt8(0))
                body.write(text: change.name)
            }
        }
        guard sequence < UInt64.max else { return nil }
        let head = Self.head(sequence + 1, body.bytes)
        let own = try key.tag(of: tag + head + body.bytes)
        let bytes = head + body.bytes + own
        guard bytes.count <= Self.size - end else { return nil }
        let offset = end
        sequence += 1
        tag = own
        end += bytes.count
        changes += new
        return (bytes, offset)
    }
}
