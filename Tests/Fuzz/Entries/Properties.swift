import Platform

/// `Tests/Fuzz`: this file lies two levels below.
let fuzzFolder = #filePath.split(separator: "/").dropLast(2).reduce("") { $0 + "/" + $1 }

/// Ends the process where something is not as it must be, which is what a fuzzer sees.
func require(_ condition: Bool, _ what: @autoclosure () -> String) {
    guard condition else { fatalError(what()) }
}

/// What comes of an input that may be refused; nothing where it was.
///
/// A refusal is one line.
@discardableResult
func accepted<Result: ~Copyable>(_ body: () throws(Failure) -> Result) -> Result? {
    do throws(Failure) {
        return try body()
    } catch {
        let line = error.description
        require(!line.isEmpty && !line.utf8.contains { $0 < 0x20 || $0 == 0x7f }, "an error of several lines")
        return nil
    }
}

/// What must succeed, whatever the input was.
func must<Result: ~Copyable>(_ body: () throws(Failure) -> Result) -> Result {
    do throws(Failure) {
        return try body()
    } catch {
        fatalError(error.description)
    }
}

/// A copy in memory for secrets.
func secret(_ bytes: some Collection<UInt8>) -> SecretBytes {
    let bytes = Array(bytes)
    let copy = must { () throws(Failure) in try SecretBytes(capacity: max(bytes.count, 1)) }
    require(copy.append(copying: bytes), "a copy does not fit")
    return copy
}

/// The bytes of a secret.
func plain(_ secret: SecretBytes) -> [UInt8] { secret.withBytes { Array($0) } }

/// Inputs that are lists: 16 bits length, then so many bytes, or as many as are left.
///
/// The highest bit of a length is a flag of its own.
struct Records: Sequence, IteratorProtocol {
    private var rest: ArraySlice<UInt8>

    init(_ bytes: some Sequence<UInt8>) {
        rest = Array(bytes)[...]
    }

    mutating func next() -> (isFlagged: Bool, bytes: [UInt8])? {
        guard let high = rest.popFirst(), let low = rest.popFirst() else { return nil }
        let record = rest.prefix(Int(high & 0x7f) << 8 | Int(low))
        rest = rest.dropFirst(record.count)
        return (high & 0x80 != 0, Array(record))
    }
}

extension Array where Element == UInt8 {
    /// Writes an integer over the bytes at an offset, its most significant byte first.
    mutating func put(_ value: some FixedWidthInteger, at offset: Int) {
        var writer = ByteWriter()
        writer.write(value)
        replaceSubrange(offset..<offset + writer.bytes.count, with: writer.bytes)
    }

    /// The unsigned integer of so many bytes at an offset; 0 where it goes past the end.
    func integer(at offset: Int, bytes: Int) -> Int {
        offset + bytes <= count ? self[offset..<offset + bytes].reduce(0) { $0 << 8 | Int($1) } : 0
    }
}
