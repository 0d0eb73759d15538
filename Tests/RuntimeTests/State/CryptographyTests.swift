import Platform
import Testing

@testable import RuntimeState

@Suite struct CryptographyTests {
    /// RFC 5869, appendix A.1 and A.3 (no salt, no info), the first 32 bytes of their output.
    @Test(arguments: [
        (
            [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12] as [UInt8],
            [0xf0, 0xf1, 0xf2, 0xf3, 0xf4, 0xf5, 0xf6, 0xf7, 0xf8, 0xf9] as [UInt8],
            "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf"
        ),
        ([], [], "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d"),
    ])
    func derivesAsTheRFCDoes(salt: [UInt8], info: [UInt8], expected: String) throws {
        let key = try secretCopy(of: [UInt8](repeating: 0x0b, count: 22))
        let derived = try Cryptography.hkdf(key: key, salt: salt, info: info)
        #expect(derived.withBytes { StateName.hexadecimal(Array($0)) } == expected)
    }

    @Test func encryptsAsNISTDoes() throws {
        // The GCM specification's test case 14: a key and a nonce of zeros, one block of zeros.
        let sealed = try Cryptography.seal(
            plaintext([UInt8](repeating: 0, count: 16)),
            key: secretCopy(of: [UInt8](repeating: 0, count: 32)),
            nonce: [UInt8](repeating: 0, count: 12),
            associatedData: []
        )
        #expect(
            StateName.hexadecimal(sealed) == "cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919"
        )
    }

    @Test func opensWhatItSealed() throws {
        let key = try secret(3)
        let nonce = [UInt8](repeating: 5, count: 12)
        for size in [0, 1, 16, 1000, 200_000] {
            let bytes = (0..<size).map { UInt8(truncatingIfNeeded: $0) }
            let sealed = try Cryptography.seal(
                plaintext(bytes),
                key: key,
                nonce: nonce,
                associatedData: [1, 2]
            )
            let opened = try Cryptography.open(sealed[...], key: key, nonce: nonce, associatedData: [1, 2])
            #expect(opened?.withBytes { Array($0) } == bytes)
            #expect(try Cryptography.open(sealed[...], key: key, nonce: nonce, associatedData: [1, 3]) == nil)
            #expect(try Cryptography.open(sealed[...], key: secret(4), nonce: nonce, associatedData: [1, 2]) == nil)
        }
    }

    @Test func encryptsWhatLiesInPiecesAsOne() throws {
        let bytes = (0..<100).map { UInt8($0) }
        let key = try secret(3)
        let nonce = [UInt8](repeating: 5, count: 12)
        let whole = try Cryptography.seal(plaintext(bytes), key: key, nonce: nonce, associatedData: [1])
        for (first, last) in [(0, 100), (0, 1), (6, 94), (17, 17), (100, 100)] {
            let pieces = try Cryptography.Plaintext(
                before: Array(bytes[..<first]),
                secret: plaintext(Array(bytes[first..<last])).secret,
                after: Array(bytes[last...])
            )
            #expect(pieces.count == bytes.count)
            #expect(try Cryptography.seal(pieces, key: key, nonce: nonce, associatedData: [1]) == whole)
        }
    }

    private func plaintext(_ bytes: [UInt8]) throws -> Cryptography.Plaintext {
        let secret = bytes.isEmpty ? try SecretBytes(capacity: 1) : try secretCopy(of: bytes)
        return Cryptography.Plaintext(secret: secret)
    }
}
