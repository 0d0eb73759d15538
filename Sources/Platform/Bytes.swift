/// Writes integers big-endian, as TPM structures have them (TPM 2.0 Library, Part 1, 11.1), and texts with their
/// length.
public struct ByteWriter: Sendable {
    /// The bytes that were written so far.
    public private(set) var bytes: [UInt8] = []

    /// Creates an empty writer.
    public init() {}

    /// Creates an empty writer that has room for this many bytes.
    public init(capacity: Int) { bytes.reserveCapacity(capacity) }

    /// Appends an integer of at most 64 bits, most significant byte first.
    @inlinable
    public mutating func write<Value: FixedWidthInteger>(_ value: Value) {
        precondition(Value.bitWidth <= 64)
        write(integer: UInt64(truncatingIfNeeded: value), size: Value.bitWidth / 8)
    }

    // Generic code that is not inlined costs a call for each operation on each byte. An index has thousands of
    // integers.
    @usableFromInline
    mutating func write(integer: UInt64, size: Int) {
        withUnsafeBytes(of: integer.bigEndian) { bytes.append(contentsOf: $0.suffix(size)) }
    }

    /// Appends bytes as they are.
    public mutating func write(_ raw: some Sequence<UInt8>) {
        bytes.append(contentsOf: raw)
    }

    /// Appends a text's length in bytes, 32 bits, and the text in UTF-8.
    public mutating func write(text: String) {
        write(UInt32(text.utf8.count))
        write(text.utf8)
    }
}

/// Reads what ``ByteWriter`` has written.
///
/// Anybody may have made the bytes: every read is checked, and none traps.
public struct ByteReader {
    private let bytes: [UInt8]
    /// The number of bytes that were read so far.
    public private(set) var offset = 0

    /// Creates a reader at the first byte.
    public init(_ bytes: [UInt8]) {
        self.bytes = bytes
    }

    /// The number of bytes that are left.
    public var remaining: Int { bytes.count - offset }

    /// Reads the next integer, of at most 64 bits; returns nil if too few bytes are left.
    @inlinable
    public mutating func read<Value: FixedWidthInteger>(_ type: Value.Type = Value.self) -> Value? {
        precondition(Value.bitWidth <= 64)
        guard let value = readInteger(size: Value.bitWidth / 8) else { return nil }
        return Value(truncatingIfNeeded: value)
    }

    @usableFromInline
    mutating func readInteger(size: Int) -> UInt64? {
        guard remaining >= size else { return nil }
        var value: UInt64 = 0
        for index in offset..<offset + size { value = value << 8 | UInt64(bytes[index]) }
        offset += size
        return value
    }

    /// Reads the next bytes; returns nil if too few are left.
    public mutating func read(count: Int) -> [UInt8]? {
        guard count >= 0, remaining >= count else { return nil }
        defer { offset += count }
        return Array(bytes[offset..<offset + count])
    }

    /// Reads the next text; returns nil if its length goes past the end or it is not UTF-8.
    public mutating func readText() -> String? {
        guard let count = read(UInt32.self), let raw = read(count: Int(count)) else { return nil }
        return String(validating: raw, as: UTF8.self)
    }
}

extension UnsafeRawBufferPointer {
    /// Returns the integer at an offset in bytes, most significant byte first, or nil if it goes past the end.
    @inlinable
    public func bigEndian<Value: FixedWidthInteger>(at offset: Int, as type: Value.Type = Value.self) -> Value? {
        guard offset >= 0, offset <= count, count - offset >= MemoryLayout<Value>.size else { return nil }
        return Value(bigEndian: loadUnaligned(fromByteOffset: offset, as: Value.self))
    }
}
