import Platform

/// Conversions between bytes and hexadecimal digits.
public enum Hexadecimal {
    private static let digits = Array("0123456789abcdef".utf8)
    private static let capitalDigits = Array("0123456789ABCDEF".utf8)

    /// Encodes bytes as lower-case digits.
    public static func encode(_ bytes: some Sequence<UInt8>) -> String {
        String(decoding: bytes.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 0xf)]] }, as: UTF8.self)
    }

    /// Encodes 16 bytes as the text of a UUID. RFC 9562, 4
    public static func uuid(_ bytes: [UInt8]) -> String {
        let parts = [0..<4, 4..<6, 6..<8, 8..<10, 10..<16]
        return parts.map { encode(bytes.dropFirst($0.lowerBound).prefix($0.count)) }.joined(separator: "-")
    }

    /// Encodes a byte as two upper-case digits in ASCII.
    public static func capitals(_ byte: UInt8) -> (high: UInt8, low: UInt8) {
        (capitalDigits[Int(byte >> 4)], capitalDigits[Int(byte & 0xf)])
    }

    /// Returns the value of an upper- or lower-case digit in ASCII; nil if it is not a digit.
    public static func value(_ digit: UInt8) -> UInt8? {
        switch digit {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): digit - UInt8(ascii: "0")
        case UInt8(ascii: "a")...UInt8(ascii: "f"): digit - UInt8(ascii: "a") + 10
        case UInt8(ascii: "A")...UInt8(ascii: "F"): digit - UInt8(ascii: "A") + 10
        default: nil
        }
    }

    /// Decodes pairs of digits; returns nil if it has anything else.
    public static func decode(_ text: String) -> [UInt8]? {
        let digits = Array(text.utf8)
        guard digits.count.isMultiple(of: 2) else { return nil }
        var bytes: [UInt8] = []
        for start in stride(from: 0, to: digits.count, by: 2) {
            guard let high = value(digits[start]), let low = value(digits[start + 1]) else { return nil }
            bytes.append(high << 4 | low)
        }
        return bytes
    }

    /// Decodes pairs of digits in ASCII and appends the bytes to `secret`.
    ///
    /// Returns false and appends no bytes if the number of digits is odd, if a character is not a digit, or if the
    /// bytes do not fit.
    public static func decode(_ text: some Collection<UInt8>, into secret: SecretBytes) -> Bool {
        guard text.count.isMultiple(of: 2), secret.capacity - secret.count >= text.count / 2 else { return false }
        let written = secret.append { output in
            var digits = text.makeIterator()
            var count = 0
            while let high = digits.next(), let low = digits.next() {
                guard let high = value(high), let low = value(low) else { return -1 }
                output[count] = high << 4 | low
                count += 1
            }
            return count
        }
        return written >= 0
    }
}
