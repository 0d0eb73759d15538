import Platform

/// An element of a list of items: kind (16 bits), length (32 bits), contents.
///
/// Integers are big-endian. Lists of items are the payloads of states and exports, the end of an index record, and
/// swtpm's states.
public struct Item: Equatable, Sendable {
    /// The kind, whose meaning depends on the list.
    public let kind: UInt16
    /// The contents, without the header.
    public let contents: [UInt8]

    /// The size of kind and length, in bytes.
    public static let headerSize = 6

    /// Creates an item to be written.
    public init(_ kind: UInt16, _ contents: [UInt8]) {
        self.kind = kind
        self.contents = contents
    }

    /// Encodes the header of an item whose contents are a secret and are written separately.
    public static func header(_ kind: UInt16, count: Int) -> [UInt8] {
        var writer = ByteWriter()
        writer.write(kind)
        writer.write(UInt32(count))
        return writer.bytes
    }
}

extension ByteWriter {
    /// Appends an item.
    public mutating func write(_ item: Item) {
        write(Item.header(item.kind, count: item.contents.count))
        write(item.contents)
    }
}

extension ByteReader {
    /// Reads an item; returns nil if it goes past the end.
    public mutating func readItem() -> Item? {
        guard let kind = read(UInt16.self), let count = read(UInt32.self), let contents = read(count: Int(count)) else {
            return nil
        }
        return Item(kind, contents)
    }
}

/// A reader of a list of items in memory that copies nothing, since the list may be a secret.
public struct ItemReader {
    private let bytes: UnsafeRawBufferPointer
    private var offset: Int

    /// Creates a reader of the list from an offset to the end of the memory.
    public init(_ bytes: UnsafeRawBufferPointer, from offset: Int = 0) {
        precondition(0...bytes.count ~= offset)
        self.bytes = bytes
        self.offset = offset
    }

    /// Whether the reader has reached the end of the list.
    ///
    /// If it is false after ``next()`` has returned nil, an item goes past the end.
    public var isAtEnd: Bool { offset == bytes.count }

    /// Returns the next item's kind and the range of its contents, or nil at the end or if the item goes past it.
    public mutating func next() -> (kind: UInt16, contents: Range<Int>)? {
        let start = offset + Item.headerSize
        guard let kind = bytes.bigEndian(at: offset, as: UInt16.self),
            let count = bytes.bigEndian(at: offset + 2, as: UInt32.self), Int(count) <= bytes.count - start
        else { return nil }
        offset = start + Int(count)
        return (kind, start..<offset)
    }
}
