import Crypto
import Platform

extension ByteWriter {
    /// Appends a TPM2B: the size in 16 bits, then the bytes. TPM 2.0 Library, Part 2, 10.4
    mutating func write(sized bytes: [UInt8]) {
        write(UInt16(bytes.count))
        write(bytes)
    }
}

extension ByteReader {
    /// Reads the contents of a TPM2B; returns nil if its size goes past the end.
    mutating func readSized() -> [UInt8]? {
        guard let count = read(UInt16.self) else { return nil }
        return read(count: Int(count))
    }
}

/// Computes the name of the entity with this public area: the name algorithm, then the area's hash. Part 1, 16
func entityName(ofPublicArea area: [UInt8]) throws(Failure) -> [UInt8] {
    var name = ByteWriter()
    name.write(Algorithm.sha256)
    name.write(try SHA256.digest(area))
    return name.bytes
}

/// Returns whether bytes have the form of a name that ``entityName(ofPublicArea:)`` returns.
func isEntityName(_ bytes: [UInt8]) -> Bool {
    bytes.count == 2 + SHA256.digestSize
        && bytes.starts(with: [UInt8(Algorithm.sha256 >> 8), UInt8(Algorithm.sha256 & 0xff)])
}
