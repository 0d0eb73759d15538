import Platform

/// The encoding of public keys in DER, SubjectPublicKeyInfo. RFC 5280, 4.1; RFC 3279, 2.3.1; RFC 5480, 2
package enum PublicKeyInfo {
    // rsaEncryption with its parameters, NULL; then id-ecPublicKey with secp256r1.
    private static let rsaAlgorithm: [UInt8] = [
        0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00,
    ]
    private static let p256Algorithm: [UInt8] = [
        0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01,
        0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07,
    ]
    private static let p384Algorithm: [UInt8] = [
        0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22,
    ]
    private static let uncompressed: UInt8 = 0x04

    /// Encodes an RSA key; the modulus is big-endian.
    package static func rsa(modulus: [UInt8], exponent: UInt32) -> [UInt8] {
        var number = ByteWriter()
        number.write(exponent)
        let key = DER.element(DER.sequence, DER.unsigned(modulus) + DER.unsigned(number.bytes))
        return DER.element(
            DER.sequence,
            DER.element(DER.sequence, rsaAlgorithm) + DER.element(DER.bitString, [0] + key)
        )
    }

    /// Encodes a point of P-256, uncompressed.
    package static func p256(_ point: P256Point) -> [UInt8] { encoded(p256Algorithm, point.x, point.y) }

    /// Encodes a point of P-256 or P-384, uncompressed; returns nil if its coordinates have the size of neither.
    package static func ecc(x: [UInt8], y: [UInt8]) -> [UInt8]? {
        switch (x.count, y.count) {
        case (32, 32): encoded(p256Algorithm, x, y)
        case (48, 48): encoded(p384Algorithm, x, y)
        default: nil
        }
    }

    private static func encoded(_ algorithm: [UInt8], _ x: [UInt8], _ y: [UInt8]) -> [UInt8] {
        let key = [0, uncompressed] + x + y
        return DER.element(DER.sequence, DER.element(DER.sequence, algorithm) + DER.element(DER.bitString, key))
    }

    /// Returns the point at the end of an encoded key; nil if the key is not on P-256.
    package static func point(of info: [UInt8]) -> P256Point? {
        let size = P256Point.coordinateSize
        guard let point = P256Point(x: Array(info.dropLast(size).suffix(size)), y: Array(info.suffix(size))),
            p256(point) == info
        else { return nil }
        return point
    }
}
