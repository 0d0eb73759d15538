import Crypto
import Platform
import Testing

/// What a process that keeps a TPM's state computes, compared with what the standards say that it is.
@Suite struct PrimitivesTests {
    /// FIPS 180-4's examples.
    @Test(
        arguments: [
            ("", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
            ("abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
            (
                "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
                "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"
            ),
        ],
        Subject.allCases
    )
    func hashes(_ example: (text: String, expected: String), _ subject: Subject) throws {
        let (text, expected) = example
        func check<Library: SessionLibrary>(_: Library.Type) throws {
            let bytes = Array(text.utf8)
            #expect(try hex(Digest<Library>.digest(bytes)) == expected)
            for cut in 0...bytes.count {
                #expect(try hex(Digest<Library>.digest(Array(bytes[..<cut]), Array(bytes[cut...]))) == expected)
                let message = SecretMessage(prefix: Array(bytes[..<cut]), secret: try secret(Array(bytes[cut...])))
                #expect(try hex(Digest<Library>.secretDigest(message)) == expected)
            }
        }
        try check(subject.library)
    }

    /// RFC 4231, test cases 1, 2 and 6, whose key is longer than a block.
    @Test(
        arguments: [
            (
                [UInt8](repeating: 0x0b, count: 20), "Hi There",
                "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"
            ),
            (
                Array("Jefe".utf8), "what do ya want for nothing?",
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
            ),
            (
                [UInt8](repeating: 0xaa, count: 131), "Test Using Larger Than Block-Size Key - Hash Key First",
                "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"
            ),
        ],
        Subject.allCases
    )
    func authenticates(_ example: (key: [UInt8], text: String, expected: String), _ subject: Subject) throws {
        let (key, text, expected) = example
        func check<Library: SessionLibrary>(_: Library.Type) throws {
            // The second time with the context that the first one was copied from.
            for _ in 0..<2 {
                #expect(try hex(KeyedDigest<Library>.tag(key: secret(key), Array(text.utf8))) == expected)
                #expect(try hex(KeyedDigest<Library>.secretTag(key: secret(key), Array(text.utf8))) == expected)
            }
        }
        try check(subject.library)
    }

    @Test(arguments: Subject.allCases) func comparesTags(_ subject: Subject) throws {
        func check<Library: SessionLibrary>(_: Library.Type) throws {
            #expect(KeyedDigest<Library>.areEqual([], []))
            #expect(KeyedDigest<Library>.areEqual([1, 2], [1, 2]))
            #expect(!KeyedDigest<Library>.areEqual([1, 2], [1, 3]))
            #expect(!KeyedDigest<Library>.areEqual([1, 2], [1]))
        }
        try check(subject.library)
    }

    /// RFC 5869, appendix A.1 and A.3 (no salt, no info), the first 32 bytes of their output.
    @Test(
        arguments: [
            (
                [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12] as [UInt8],
                [0xf0, 0xf1, 0xf2, 0xf3, 0xf4, 0xf5, 0xf6, 0xf7, 0xf8, 0xf9] as [UInt8],
                "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf"
            ),
            ([], [], "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d"),
        ],
        Subject.allCases
    )
    func derivesAsTheRFCDoes(
        _ example: (salt: [UInt8], info: [UInt8], expected: String),
        _ subject: Subject
    ) throws {
        let (salt, info, expected) = example
        func check<Library: SessionLibrary>(_: Library.Type) throws {
            let key = try secret([UInt8](repeating: 0x0b, count: 22))
            #expect(try hex(KeyDerivation<Library>.key(from: key, salt: salt, info: info)) == expected)
        }
        try check(subject.library)
    }

    /// The GCM specification's test cases 13, 14 and 16.
    @Test(
        arguments: [
            (
                String(repeating: "00", count: 32), String(repeating: "00", count: 12), "", "",
                "530f8afbc74536b9a963b4f1c4cb738b"
            ),
            (
                String(repeating: "00", count: 32), String(repeating: "00", count: 12), "",
                String(repeating: "00", count: 16), "cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919"
            ),
            (
                "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308", "cafebabefacedbaddecaf888",
                "feedfacedeadbeeffeedfacedeadbeefabaddad2",
                "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
                    + "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
                "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
                    + "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662" + "76fc6ece0f4e1768cddf8853bb2d551b"
            ),
        ],
        Subject.allCases
    )
    func encryptsAsNISTDoes(
        _ example: (key: String, nonce: String, associatedData: String, plaintext: String, expected: String),
        _ subject: Subject
    ) throws {
        let (key, nonce, associatedData, plaintext, expected) = example
        func check<Library: SessionLibrary>(_: Library.Type) throws {
            let sealed = try AuthenticatedEncryption<Library>.seal(
                SecretMessage(secret: secret(bytes(plaintext))),
                key: secret(bytes(key)),
                nonce: bytes(nonce),
                associatedData: bytes(associatedData)
            )
            #expect(hex(sealed) == expected)
            let opened = try AuthenticatedEncryption<Library>.open(
                sealed[...],
                key: secret(bytes(key)),
                nonce: bytes(nonce),
                associatedData: bytes(associatedData)
            )
            #expect(try hex(#require(opened)) == plaintext)
        }
        try check(subject.library)
    }

    @Test(arguments: Subject.allCases) func opensWhatItSealed(_ subject: Subject) throws {
        func check<Library: SessionLibrary>(_: Library.Type) throws {
            let (key, other) = (try key(3), try key(4))
            let nonce = [UInt8](repeating: 5, count: 12)
            for size in [0, 1, 16, 1000, 200_000] {
                let bytes = (0..<size).map { UInt8(truncatingIfNeeded: $0) }
                let message = SecretMessage(secret: try secret(bytes))
                let sealed = try AuthenticatedEncryption<Library>.seal(
                    message,
                    key: key,
                    nonce: nonce,
                    associatedData: [1, 2]
                )
                let opened = try AuthenticatedEncryption<Library>.open(
                    sealed[...],
                    key: key,
                    nonce: nonce,
                    associatedData: [1, 2]
                )
                #expect(opened?.withBytes { Array($0) } == bytes)
                #expect(
                    try AuthenticatedEncryption<Library>.open(
                        sealed[...],
                        key: key,
                        nonce: nonce,
                        associatedData: [1, 3]
                    ) == nil
                )
                #expect(
                    try AuthenticatedEncryption<Library>.open(
                        sealed[...],
                        key: other,
                        nonce: nonce,
                        associatedData: [1, 2]
                    ) == nil
                )
                #expect(
                    try AuthenticatedEncryption<Library>.open(
                        sealed.dropLast(),
                        key: key,
                        nonce: nonce,
                        associatedData: [1, 2]
                    ) == nil
                )
                #expect(
                    try AuthenticatedEncryption<Library>.open(
                        sealed.prefix(15),
                        key: key,
                        nonce: nonce,
                        associatedData: [1, 2]
                    ) == nil
                )
            }
        }
        try check(subject.library)
    }

    @Test(arguments: Subject.allCases) func encryptsWhatLiesInPiecesAsOne(_ subject: Subject) throws {
        func check<Library: SessionLibrary>(_: Library.Type) throws {
            let bytes = (0..<100).map { UInt8($0) }
            let key = try key(3)
            let nonce = [UInt8](repeating: 5, count: 12)
            let all = SecretMessage(secret: try secret(bytes))
            let whole = try AuthenticatedEncryption<Library>.seal(all, key: key, nonce: nonce, associatedData: [1])
            for (first, last) in [(0, 100), (0, 1), (6, 94), (17, 17), (100, 100)] {
                let pieces = SecretMessage(
                    prefix: Array(bytes[..<first]),
                    secret: try secret(Array(bytes[first..<last])),
                    suffix: Array(bytes[last...])
                )
                #expect(pieces.count == bytes.count)
                #expect(
                    try AuthenticatedEncryption<Library>.seal(pieces, key: key, nonce: nonce, associatedData: [1])
                        == whole
                )
            }
        }
        try check(subject.library)
    }

    @Test(arguments: Subject.allCases) func isNeverTheSameAtRandom(_ subject: Subject) throws {
        func check<Library: SessionLibrary>(_: Library.Type) throws {
            let secrets = try (0..<8).map { _ in try hex(RandomSource<Library>.secret(count: 32)) }
            let others = try (0..<8).map { _ in try hex(RandomSource<Library>.bytes(count: 32)) }
            #expect(Set(secrets + others).count == 16)
        }
        try check(subject.library)
    }

    @Test func writesAndReadsHexadecimalDigits() throws {
        let all = (0...255).map { UInt8($0) }
        let text = Hexadecimal.encode(all)
        #expect(text.hasPrefix("000102") && text.hasSuffix("fdfeff"))
        #expect(try bytes(text) == all)
        #expect(try bytes(text.uppercased()) == all)
        #expect(Hexadecimal.capitals(0xa5) == (UInt8(ascii: "A"), UInt8(ascii: "5")))
        for wrong in ["0", "0g", "g0", "/0", ":0", "@0", "`0", "0x00", " 00", "00\n"] {
            let secret = try SecretBytes(capacity: 8)
            #expect(!Hexadecimal.decode(Array(wrong.utf8), into: secret), "\(wrong)")
            #expect(secret.count == 0)
        }
        #expect(try !Hexadecimal.decode(Array("0000".utf8), into: SecretBytes(capacity: 1)))
    }
}

private func key(_ byte: UInt8) throws -> SecretBytes { try secret([UInt8](repeating: byte, count: 32)) }
