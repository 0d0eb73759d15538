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
    package static func p256(_ point: P256Point) -> [UInt8] {
        let key = [0, uncompressed] + point.x + point.y
        return DER.element(DER.sequence, DER.element(DER.sequence, p256Algorithm) + DER.element(DER.bitString, key))
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
