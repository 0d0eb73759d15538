import Platform

/// A node of the tree of the host index's records.
///
/// A leaf has records, in the order of their keys. A branch has references to other nodes, one for each value of the
/// next six bits of a key:
///
///     kind      8 bits   1 a leaf, 2 a branch
///     count     32 bits  how many follow
///     record    key (32 bytes), length (32 bits), record
///     child     value of the six bits (8 bits), then a reference
///
/// A reference:
///
///     node      64 bits  the node's number
///     slot      8 bits   0 or 1: which of its two places it is in
///     length    32 bits  of the node, in bytes
///     digest    32 bytes SHA-256 of the node
enum IndexNode {
    case leaf([Record])
    case branch([Child])

    /// A record with its key.
    struct Record {
        var key: [UInt8]
        var bytes: [UInt8]
    }

    /// One reference of a branch, with the value of the six bits that leads to it.
    struct Child {
        var value: UInt8
        var reference: Reference
    }

    /// The place, length and digest of a node.
    struct Reference: Equatable {
        var node: UInt64
        var slot: UInt8
        var length: UInt32
        var digest: [UInt8]

        func write(to writer: inout ByteWriter) {
            writer.write(node)
            writer.write(slot)
            writer.write(length)
            writer.write(digest)
        }

        /// The offset of the node in the file, in bytes.
        var offset: Int { (Int(node) * 2 + Int(slot)) * IndexNode.sizeLimit }
    }

    /// The largest node, in bytes.
    static let sizeLimit = 16 * 1024
    static let keySize = 32
    private static let headSize = 5
    /// The limit of node numbers; the offsets of nodes beyond it are larger than any file.
    static let countLimit: UInt64 = 1 << 47

    /// Returns the size of a leaf with these records, in bytes.
    static func size(of records: [Record]) -> Int {
        records.reduce(headSize) { $0 + keySize + 4 + $1.bytes.count }
    }

    /// Returns six bits of a key, those from bit `6 * depth` on; bits beyond the key's end are 0.
    static func value(of key: [UInt8], at depth: Int) -> UInt8 {
        let bit = depth * 6
        let (byte, shift) = (bit / 8, bit % 8)
        let high = byte < key.count ? UInt16(key[byte]) << 8 : 0
        let low = byte + 1 < key.count ? UInt16(key[byte + 1]) : 0
        return UInt8((high | low) >> (10 - UInt16(shift)) & 0x3f)
    }

    var encoded: [UInt8] {
        var writer = ByteWriter()
        switch self {
        case .leaf(let records):
            writer.write(UInt8(1))
            writer.write(UInt32(records.count))
            for record in records {
                writer.write(record.key)
                writer.write(UInt32(record.bytes.count))
                writer.write(record.bytes)
            }
        case .branch(let children):
            writer.write(UInt8(2))
            writer.write(UInt32(children.count))
            for child in children {
                writer.write(child.value)
                child.reference.write(to: &writer)
            }
        }
        return writer.bytes
    }

    /// Decodes a node whose digest is valid; returns nil if it is malformed.
    init?(decoding bytes: [UInt8]) {
        var reader = ByteReader(bytes)
        guard let kind = reader.read(UInt8.self), let count = reader.read(UInt32.self) else { return nil }
        switch kind {
        case 1:
            var records: [Record] = []
            for _ in 0..<count {
                guard let key = reader.read(count: Self.keySize), let length = reader.read(UInt32.self),
                    let bytes = reader.read(count: Int(length))
                else { return nil }
                records.append(Record(key: key, bytes: bytes))
            }
            self = .leaf(records)
        case 2:
            var children: [Child] = []
            for _ in 0..<count {
                guard let value = reader.read(UInt8.self), value < 64, let reference = Reference(&reader) else {
                    return nil
                }
                children.append(Child(value: value, reference: reference))
            }
            self = .branch(children)
        default: return nil
        }
        guard reader.remaining == 0 else { return nil }
    }
}

extension IndexNode.Reference {
    /// Reads a reference; returns nil if it is malformed.
    init?(_ reader: inout ByteReader) {
        guard let node = reader.read(UInt64.self), node < IndexNode.countLimit, let slot = reader.read(UInt8.self),
            slot < 2, let length = reader.read(UInt32.self), length <= IndexNode.sizeLimit,
            let digest = reader.read(count: 32)
        else { return nil }
        self.init(node: node, slot: slot, length: length, digest: digest)
    }
}
