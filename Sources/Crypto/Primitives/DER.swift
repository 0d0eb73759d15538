import Platform

/// The encoding of ASN.1 in DER, as far as keys and certificates need it. ITU-T X.690
package enum DER {
    package static let integer: UInt8 = 0x02
    package static let bitString: UInt8 = 0x03
    package static let octetString: UInt8 = 0x04
    package static let utf8String: UInt8 = 0x0c
    package static let sequence: UInt8 = 0x30
    package static let set: UInt8 = 0x31

    /// Encodes an element.
    package static func element(_ tag: UInt8, _ content: [UInt8]) -> [UInt8] {
        var size = ByteWriter()
        size.write(UInt32(content.count))
        let digits = Array(size.bytes.drop { $0 == 0 })
        let isShort = content.count < 0x80
        return [tag] + (isShort ? [UInt8(content.count)] : [0x80 | UInt8(digits.count)] + digits) + content
    }

    /// Encodes an unsigned INTEGER: without leading zeros, but with one if the first bit is set.
    package static func unsigned(_ bytes: [UInt8]) -> [UInt8] {
        let digits = Array(bytes.drop { $0 == 0 })
        return element(integer, (digits.first ?? 0x80) & 0x80 == 0 ? digits : [0] + digits)
    }

    /// Encodes a text.
    package static func text(_ text: String) -> [UInt8] { element(utf8String, Array(text.utf8)) }
}
