import Platform

/// One of a list of items: 16 bits kind, 32 bits length, contents.
///
/// Integers are big-endian. It is the form of the payloads of states and exports, of what the index remembers beyond its fields, and of swtpm's
/// states.
public struct Item: Equatable, Sendable {
    /// What it is.
    public let kind: UInt16
    /// What it holds.
    public let contents: [UInt8]

    /// Bytes in front of the contents.
    public static let headerSize = 6

    /// An item to be written.
    public init(_ kind: UInt16, _ contents: [UInt8]) {
        self.kind = kind
        self.contents = contents
    }

    /// What stands in front of the contents, for contents that are a secret.
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

/// Finds the items of a list in memory, of which it copies nothing: it may be a secret.
public struct ItemReader {
    private let bytes: UnsafeRawBufferPointer
    private var offset: Int

    /// A list from an offset to the end of the memory.
    public init(_ bytes: UnsafeRawBufferPointer, from offset: Int = 0) {
        precondition(0...bytes.count ~= offset)
        self.bytes = bytes
        self.offset = offset
    }

    /// Whether the whole list was found.
    ///
    /// It is false after ``next()`` has returned nil if an item goes past the end.
    public var isAtEnd: Bool { offset == bytes.count }

    /// The next item's kind, and where in the memory its contents are; nil if there is none, or if it goes past the end.
    public mutating func next() -> (kind: UInt16, contents: Range<Int>)? {
        let start = offset + Item.headerSize
        guard let kind = bytes.bigEndian(at: offset, as: UInt16.self),
            let count = bytes.bigEndian(at: offset + 2, as: UInt32.self), Int(count) <= bytes.count - start
        else { return nil }
        offset = start + Int(count)
        return (kind, start..<offset)
    }
}
