import Crypto
import Platform

/// A change of the host's index: what it remembers of one state from now on.
struct IndexChange: Equatable {
    /// The name of the state's directory.
    var name: String
    /// What is remembered; nil if the state is forgotten.
    var entry: IndexEntry?
}

/// The journal of the host's index: changes that are not in its tree yet.
///
/// It is the file `journal.N`, whose size never changes, so that a change is on stable storage after one flush of data.
/// Each entry is authenticated together with all before it:
///
///     length    32 bits  of the changes, in bytes
///     sequence  64 bits  one more than that of the entry before
///     changes   16 bits  how many, then each of them: 1 and a record after its length of 32 bits, or 0 and a name (text)
///     tag       32 bytes HMAC-SHA-256 of the tag before it and all that stands above
///
/// What follows the last entry means nothing: an earlier use of the file, or a write that was cut short.
struct IndexJournal {
    /// The size of the file, in bytes.
    static let size = 64 * 1024
    /// How much of it may be in use before its changes are put into the tree, in bytes.
    static let target = size / 2

    /// The changes, the oldest first.
    private(set) var changes: [IndexChange] = []
    /// How many of them the root vouches for.
    private(set) var vouched = 0
    /// Where the entries end that the root vouches for, in bytes from the start.
    private(set) var vouchedEnd = 0
    /// The sequence of the last entry.
    private(set) var sequence: UInt64
    /// Its tag.
    private(set) var tag: [UInt8]
    /// Where the next entry goes, in bytes from the start.
    private(set) var end = 0

    /// Reads the entries that follow a root's tree.
    ///
    /// Throws a ``Failure`` if one is missing or damaged that the root vouches for.
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

    /// The changes of one entry, whose tag was found to be right; nil if they are damaged.
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

    /// Adds an entry; returns its bytes and where they go, or nil if there is no room for it.
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
