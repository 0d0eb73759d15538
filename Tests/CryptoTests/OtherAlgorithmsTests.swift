import CryptoTransfer
import Platform
import Testing

/// What exports and swtpm's states need beside the primitives.
@Suite struct OtherAlgorithmsTests {
    private static let plaintext =
        "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e5130c81c46a35ce411e5fbc1191a0a52ef"
        + "f69f2445df4f9b17ad2b417be66c3710"
    private static let vector = "000102030405060708090a0b0c0d0e0f"
    private static let key128 = "2b7e151628aed2a6abf7158809cf4f3c"

    /// SP 800-38A, F.2.1 and F.2.5, with their inverses.
    @Test(arguments: [
        (
            key128,
            "7649abac8119b246cee98e9b12e9197d5086cb9b507219ee95db113a917678b273bed6b8e3c1743b7116e69e22229516"
                + "3ff1caa1681fac09120eca307586e1a7"
        ),
        (
            "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4",
            "f58c4c04d6e5f1ba779eabfb5f7bfbd69cfc4e967edb808d679f777bc6702c7d39f23369a9d9bacfa530e26304231461"
                + "b2eb05e2c39be9fcda6c19078c6a9d1b"
        ),
    ])
    func encryptsWithCBC(key: String, expected: String) throws {
        let key = try secret(bytes(key))
        let vector = try bytes(Self.vector)
        let ciphertext = try AESCBC.encrypt(secret(bytes(Self.plaintext)), key: key, vector: vector)
        #expect(hex(ciphertext) == expected)
        #expect(try AESCBC.encrypt(secret(bytes(Self.plaintext)), key: key, vector: vector + [1]) == ciphertext)
        #expect(try hex(AESCBC.decrypt(ciphertext, key: key, vector: vector)) == Self.plaintext)
    }

    @Test func refusesACiphertextThatIsNotWholeBlocks() throws {
        let key = try secret(bytes(Self.key128))
        #expect(throws: Failure.self) {
            try AESCBC.decrypt([1, 2, 3], key: key, vector: bytes(Self.vector))
        }
    }

    /// RFC 7914, 12, the first and the third example.
    @Test(
        arguments: [
            (
                "", "", 16, 1, 1,
                "77d6576238657b203b19ca42c18a0497f16b4844e3074ae8dfdffa3fede21442"
                    + "fcd0069ded0948f8326a753a0fc81f17e8d3e0fb2e0d3628cf35e20c38d18906"
            ),
            (
                "pleaseletmein", "SodiumChloride", 16384, 8, 1,
                "7023bdcb3afd7348461c06cd81fd38ebfda8fbba904f8e3ea9b543f6545da1f2"
                    + "d5432955613f0fcf62d49705242a9af9e61e85dc0d651e40dfcf017b45575887"
            ),
        ] as [(String, String, UInt64, UInt64, UInt64, String)]
    )
    func derivesWithScrypt(
        passphrase: String,
        salt: String,
        n: UInt64,
        r: UInt64,
        p: UInt64,
        expected: String
    ) throws {
        let key = try PassphraseKey.scrypt(
            secret(Array(passphrase.utf8)),
            salt: Array(salt.utf8),
            n: n,
            r: r,
            p: p,
            memoryLimit: 64 << 20,
            size: 64
        )
        #expect(hex(key) == expected)
    }

    /// The vectors that RFC 6070 has for SHA-1, as they are for SHA-512.
    @Test(
        arguments: [
            (
                1,
                "867f70cf1ade02cff3752599a3a53dc4af34c7a669815ae5d513554e1c8cf252"
                    + "c02d470a285a0501bad999bfe943c08f050235d7d68b1da55e63f73b60a57fce"
            ),
            (
                4096,
                "d197b1b33db0143e018b12f3d1d1479e6cdebdcc97c5c0f87f6902e072f457b5"
                    + "143f30602641b3d55cd335988cb36b84376060ecd532e039b742a239434af2d5"
            ),
        ] as [(CInt, String)]
    )
    func derivesWithPBKDF2(iterations: CInt, expected: String) throws {
        let passphrase = try secret(Array("password".utf8))
        let salt = Array("salt".utf8)
        let key = try PassphraseKey.pbkdf2SHA512(passphrase, salt: salt, iterations: iterations, size: 64)
        #expect(hex(key) == expected)
    }

    /// FIPS 180-4's first example.
    @Test func hashesWithSHA512() throws {
        #expect(
            try hex(PassphraseKey.sha512(secret(Array("abc".utf8))))
                == "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
                + "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f"
        )
    }

    /// RFC 7748, 6.1.
    @Test func agreesWithX25519() throws {
        let prefix = "302e020100300506032b656e04220420"
        let alice = try privateKey(prefix + "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a")
        let bob = try privateKey(prefix + "5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb")
        #expect(alice.kind == .x25519)
        #expect(hex(alice.publicKey).hasSuffix("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"))
        #expect(hex(bob.publicKey).hasSuffix("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f"))
        let expected = "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742"
        #expect(try hex(alice.agree(with: bob, what)) == expected)
        #expect(try hex(bob.agree(with: alice, what)) == expected)
    }

    @Test func agreesWithAKeyOfTheSameKind() throws {
        let prefix = "302e020100300506032b656e04220420"
        let x25519 = try privateKey(prefix + "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a")
        let ephemeral = try x25519.ephemeral(what)
        #expect(ephemeral.kind == x25519.kind)
        #expect(ephemeral.publicKey != x25519.publicKey)
        #expect(try hex(ephemeral.agree(with: x25519, what)) == hex(x25519.agree(with: ephemeral, what)))
    }

    @Test func tellsWhatIsNoKey() throws {
        for digits in ["", "00", "3000"] {
            try secret(bytes(digits)).withBytes { bytes in
                for parsed in [
                    try AgreementKey.parse(publicKey: bytes, what), try AgreementKey.parse(privateKey: bytes, what),
                ] {
                    guard case .damaged = parsed else {
                        Issue.record("\(digits) is a key")
                        continue
                    }
                }
            }
        }
    }

    private let what = "cannot use the key"

    private func privateKey(_ digits: String) throws -> AgreementKey {
        let parsed = try secret(bytes(digits)).withBytes { (bytes) throws(Failure) in
            try AgreementKey.parse(privateKey: bytes, what)
        }
        guard case .key(let key) = parsed else { throw Failure(what, because: "it is none") }
        return key
    }
}
