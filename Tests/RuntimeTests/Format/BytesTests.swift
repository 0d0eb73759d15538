import Platform
import Testing

/// Integers as TPM structures and our own files have them.
struct BytesTests {
    private func comesBack<Value: FixedWidthInteger>(_ value: Value) -> Bool {
        var writer = ByteWriter()
        writer.write(value)
        guard writer.bytes == withUnsafeBytes(of: value.bigEndian, { Array($0) }) else { return false }
        var reader = ByteReader(writer.bytes)
        var short = ByteReader(Array(writer.bytes.dropLast()))
        return reader.read(Value.self) == value && reader.remaining == 0
            && short.read(Value.self) == nil && short.offset == 0
    }

    private func allComeBack<Value: FixedWidthInteger>(_ type: Value.Type) -> Bool {
        [Value.min, Value.max, 0, 1, Value(truncatingIfNeeded: -1), Value(truncatingIfNeeded: 0x0123_4567_89ab_cdef)]
            .allSatisfy { comesBack($0) }
    }

    @Test func integersOfAllSizesComeBack() {
        #expect(allComeBack(UInt8.self))
        #expect(allComeBack(UInt16.self))
        #expect(allComeBack(UInt32.self))
        #expect(allComeBack(UInt64.self))
        #expect(allComeBack(Int8.self))
        #expect(allComeBack(Int16.self))
        #expect(allComeBack(Int32.self))
        #expect(allComeBack(Int64.self))
    }

    @Test func theMostSignificantByteComesFirst() {
        var writer = ByteWriter()
        writer.write(UInt32(0x0102_0304))
        writer.write(Int16(-2))
        #expect(writer.bytes == [1, 2, 3, 4, 0xff, 0xfe])
    }
}
