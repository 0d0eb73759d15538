import Crypto
import Platform
import Testing

@testable import RuntimeFormat

/// What all formats of files have in common.
@Suite struct FileFormatTests {
    private static func format(_ extent: FileFormat.Extent, _ check: FileFormat.Check) -> FileFormat {
        FileFormat(
            magic: Array("CVTPMXX\n".utf8),
            name: "a test",
            version: 2,
            extent: extent,
            check: check,
            sizeLimit: 100,
            hint: "make another"
        )
    }
    private let header = format(.header, .digest(size: 16))
    private let file = format(.file, .digest(size: 32))
    private let keyed = format(.file, .keyed(size: 4))

    private func fields(_ text: String) -> ByteWriter {
        var fields = ByteWriter()
        fields.write(text: text)
        return fields
    }

    private func words(_ format: FileFormat, _ bytes: [UInt8]) -> String {
        let error = #expect(throws: Failure.self) { try FileHeader(format, parsing: bytes, "cannot read it") }
        return error?.description ?? ""
    }

    /// A file of a format, with some check if that takes a key.
    private func encode(_ format: FileFormat, _ text: String) throws(Failure) -> [UInt8] {
        guard case .keyed = format.check else { return try format.encode(fields(text)) }
        return try format.encode(fields(text)) { _ in [1, 2, 3, 4] }
    }

    @Test func isReadAsItWasWritten() throws {
        for (format, rest) in [(header, [1, 2, 3] as [UInt8]), (file, []), (keyed, [])] {
            let bytes = try encode(format, "some text")
            #expect(bytes.starts(with: Array("CVTPMXX\n".utf8) + [0, 2, 0, 0, 0, UInt8(bytes.count)]))
            var header = try FileHeader(format, parsing: bytes + rest, "")
            #expect(header.version == 2)
            #expect(header.size == bytes.count)
            #expect(header.fields.readText() == "some text")
            #expect(header.fields.remaining == 0)
        }
    }

    @Test func leavesACheckWithAKeyToItsOwner() throws {
        let bytes = try keyed.encode(fields("x")) { _ in [1, 2, 3, 4] }
        #expect(bytes.suffix(4) == [1, 2, 3, 4])
        _ = try FileHeader(keyed, parsing: bytes.dropLast(4) + [4, 3, 2, 1], "")
    }

    @Test func saysWhatIsWrong() throws {
        let whole = try file.encode(fields("some text"))
        for count in whole.indices {
            #expect(words(file, Array(whole[..<count])) == "cannot read it: it is truncated (make another)")
        }
        #expect(words(file, whole + [0]) == "cannot read it: it is damaged (make another)")
        #expect(words(file, Array("CVTPMXY\n".utf8)) == "cannot read it: it is not a test (make another)")
        for (format, reason) in [(file, "it is damaged"), (header, "its header is damaged")] {
            let bytes = try format.encode(fields("some text"))
            func changed(_ index: Int, _ value: UInt8) -> String {
                var bytes = bytes
                bytes[index] = value
                return words(format, bytes)
            }
            #expect(changed(9, 3) == "cannot read it: it has format 3, newer than this version's 2 (upgrade)")
            #expect(changed(9, 0) == "cannot read it: \(reason) (make another)")
            // A size above the limit, and one that has no room for what each file has.
            #expect(changed(12, 1) == "cannot read it: \(reason) (make another)")
            #expect(changed(13, 14) == "cannot read it: \(reason) (make another)")
            #expect(changed(20, 1) == "cannot read it: \(reason) (make another)")
            #expect(changed(bytes.count - 1, bytes[bytes.count - 1] ^ 1) == "cannot read it: \(reason) (make another)")
        }
    }

    @Test func checksThatThePayloadIsTheRest() throws {
        let bytes = try header.encode(fields("x"))
        let parsed = try FileHeader(header, parsing: bytes, "")
        func words(_ size: UInt32, _ payload: Int) -> String {
            do {
                try parsed.checkPayload(size: size, in: bytes + [UInt8](repeating: 0, count: payload), "cannot read it")
                return ""
            } catch { return error.description }
        }
        #expect(words(16, 16) == "")
        #expect(words(17, 16) == "cannot read it: it is truncated (make another)")
        #expect(words(16, 17) == "cannot read it: its payload is damaged (make another)")
        #expect(words(15, 15) == "cannot read it: its payload is damaged (make another)")
    }

    @Test func findsItems() {
        var writer = ByteWriter()
        let items = [Item(1, [1, 2, 3]), Item(0xffff, []), Item(1, [4])]
        for item in items { writer.write(item) }
        let bytes = writer.bytes
        for count in 0...bytes.count {
            let part = Array(bytes[..<count])
            var found: [Item] = []
            let isWhole = part.withUnsafeBytes { memory in
                var reader = ItemReader(memory)
                while let (kind, range) = reader.next() { found.append(Item(kind, Array(memory[range]))) }
                return reader.isAtEnd
            }
            #expect(isWhole == [0, 9, 15, bytes.count].contains(count))
            #expect(items.starts(with: found))
            var reader = ByteReader(part)
            for item in found { #expect(reader.readItem() == item) }
            #expect(reader.readItem() == nil)
        }
        #expect(items.map { Item.headerSize + $0.contents.count }.reduce(0, +) == bytes.count)
    }

    @Test func readsIntegersOutOfMemory() {
        let bytes: [UInt8] = [1, 2, 3, 4, 5]
        bytes.withUnsafeBytes { memory in
            #expect(memory.bigEndian(at: 1, as: UInt32.self) == 0x0203_0405)
            #expect(memory.bigEndian(at: 2, as: UInt32.self) == nil)
            #expect(memory.bigEndian(at: -1, as: UInt8.self) == nil)
            #expect(memory.bigEndian(at: 5, as: UInt8.self) == nil)
            #expect(memory.bigEndian(at: 4, as: UInt8.self) == 5)
            #expect(memory.bigEndian(at: 6, as: UInt8.self) == nil)
        }
    }
}
