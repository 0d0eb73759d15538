import CryptoLibCrypto
import CryptoNettle
import Foundation
import Platform
import Testing

@testable import Crypto

/// What sessions with the host's TPM need beside the primitives, computed by each library.
@Suite struct SessionTests {
    private let what = "cannot use the key"

    /// SP 800-38A, F.3.13 and F.3.14; parts of it as well, since CFB is a stream.
    @Test(arguments: Subject.allCases) func encryptsWithCFB(_ subject: Subject) throws {
        let key = try secret(bytes("2b7e151628aed2a6abf7158809cf4f3c" + "000102030405060708090a0b0c0d0e0f"))
        let all = try bytes(
            "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e5130c81c46a35ce411e5fbc1191a0a52ef"
                + "f69f2445df4f9b17ad2b417be66c3710"
        )
        let expected = try bytes(
            "3b3fd92eb72dad20333449f8e83cfb4ac8a64537a0b3a93fcde3cdad9f1ce58b26751f67a3cbb140b1808cf187a4f4df"
                + "c04b05357c5d1c0eeac4c66f9ff7f2e6"
        )
        func check<Library: SessionLibrary>(_: Library.Type) throws {
            for size in 0...64 {
                let plaintext = Array(all[..<size])
                let ciphertext = try FeedbackEncryption<Library>.encrypt(secret(plaintext), keyAndVector: key)
                #expect(ciphertext == Array(expected[..<size]))
                let opened = try FeedbackEncryption<Library>.decrypt(ciphertext, keyAndVector: key)
                #expect(hex(opened) == hex(plaintext))
            }
        }
        try check(subject.library)
    }

    /// NIST's test vectors for the ECC CDH primitive, P-256: the first, and its public key.
    @Test(arguments: Subject.allCases) func agreesWithP256(_ subject: Subject) throws {
        let peer = try point(
            "700c48f77f56584c5cc632ca65640db91b6bacce3a4df6b42ce7cc838833d287",
            "db71e509e3fd9b060ddb20ba5c51dcc5948d46fbf640dfe0441782cab85fa4ac"
        )
        func check<Library: SessionLibrary>(_: Library.Type) throws {
            let scalar = try secret(bytes("7d7dc5f71eb29ddaf80d6214632eeae03d9058af1fb6d22ed80badb62bc1a534"))
            let own = try #require(Library.P256Key.key(scalar: scalar))
            #expect(
                try own.point
                    == point(
                        "ead218590119e8876b29146ff89ca61770c4edbbf97d38ce385ed281d8a6b230",
                        "28af61281fd35e2fa7002523acc85a429cb06ee6648325389f59edfce1405141"
                    )
            )
            #expect(
                try hex(Agreement<Library>.agree(own, peer, what))
                    == "46fc62106420ff012e54a434fbdd2d25ccc5852060561e68040dd7778997bd7b"
            )
        }
        try check(subject.library)
    }

    /// A peer that knows its own key finds the secret from the public key that it is sent.
    @Test(arguments: Subject.allCases, Subject.allCases)
    func agreesWithTheOther(_ subject: Subject, _ other: Subject) throws {
        func check<Library: SessionLibrary, Peer: SessionLibrary>(_: Library.Type, _: Peer.Type) throws {
            var points: Set<String> = []
            for _ in 0..<4 {
                let peer = try #require(Peer.P256Key.generate())
                let (own, shared) = try Agreement<Library>.withNewKey(peer.point, what)
                #expect(try hex(Agreement<Peer>.agree(peer, own, what)) == hex(shared))
                points.insert(hex(own.x))
            }
            #expect(points.count == 4)
        }
        try check(subject.library, other.library)
    }

    /// What a hostile TPM could send: nothing of it ends the process, and none of it becomes a secret.
    @Test(
        arguments: [
            ("infinity", "", ""), ("neither", "01", "01"), ("the other sign of x", "-gx", "gy"),
            ("swapped", "gy", "gx"),
            ("x of 0 as p", "p", "y0"), ("x of 5 with p added", "p+5", "y5"), ("y is p", "gx", "p"),
            ("both are p", "p", "p"), ("all ones", "ff", "ff"),
        ],
        Subject.allCases
    )
    func refusesWhatIsNotOnTheCurve(_ example: (name: String, x: String, y: String), _ subject: Subject) throws {
        let named = [
            "": String(repeating: "00", count: 32), "01": String(repeating: "00", count: 31) + "01",
            "ff": String(repeating: "ff", count: 32),
            "p": "ffffffff00000001000000000000000000000000ffffffffffffffffffffffff",
            "gx": "6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296",
            "gy": "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5",
            "-gx": "94e82e0c1ed3bdb90743191a9c5bbf0d88fc827fd214cc5f0b5ec6ba27673d69",
            // There are points with these x; with p added, x is the same modulo p, and fits in 32 bytes.
            "y0": "66485c780e2f83d72433bd5d84a06bb6541c2af31dae871728bf856a174f93f4",
            "p+5": "ffffffff00000001000000000000000000000001000000000000000000000004",
            "y5": "459243b9aa581806fe913bce99817ade11ca503c64d9a3c533415c083248fbcc",
        ]
        let peer = try point(#require(named[example.x]), #require(named[example.y]))
        func check<Library: SessionLibrary>(_: Library.Type) throws {
            let error = #expect(throws: Failure.self) { try Agreement<Library>.withNewKey(peer, what) }
            #expect("\(try #require(error))" == "cannot use the key: the point is not on the curve P-256")
        }
        try check(subject.library)
    }

    /// Points that are on the curve, and whose coordinates begin with zeros or are zero.
    @Test func agreesWithSmallCoordinates() throws {
        let peers = [
            try point(
                "0000000000000000000000000000000000000000000000000000000000000000",
                "66485c780e2f83d72433bd5d84a06bb6541c2af31dae871728bf856a174f93f4"
            ),
            try point(
                "0000000000000000000000000000000000000000000000000000000000000005",
                "459243b9aa581806fe913bce99817ade11ca503c64d9a3c533415c083248fbcc"
            ),
        ]
        for scalar in [pattern(32), pattern(32, 77)] {
            let nettle = try #require(try NettleP256Key.key(scalar: secret(scalar)))
            let libcrypto = try #require(try LibCryptoP256Key.key(scalar: secret(scalar)))
            #expect(nettle.point == libcrypto.point)
            for peer in peers {
                let one = try Agreement<Nettle>.agree(nettle, peer, what)
                #expect(try hex(Agreement<LibCryptoPrimitives>.agree(libcrypto, peer, what)) == hex(one))
            }
        }
    }

    /// Multiples of the generator: 379 with a zero as first byte of x and 40393 with two.
    @Test(
        arguments: [
            (379, "005543894af3d00ed7d740abdbd75c96b06877b787db5f70eea78b90a8d7c00a"),
            (40393, "00003f5f178aa0706c4231eb6e5495aa1642c5b8a994127c89465f22994a42f9"),
        ],
        Subject.allCases
    )
    func keepsZerosAtTheBeginning(_ example: (factor: UInt16, x: String), _ subject: Subject) throws {
        let one = try secret([UInt8](repeating: 0, count: 31) + [1])
        let number = try secret(
            [UInt8](repeating: 0, count: 30) + [UInt8(example.factor >> 8), UInt8(example.factor & 0xff)]
        )
        func check<Library: SessionLibrary>(_: Library.Type) throws {
            let key = try #require(Library.P256Key.key(scalar: number))
            #expect(hex(key.point.x) == example.x)
            let generator = try #require(Library.P256Key.key(scalar: one))
            #expect(try hex(Agreement<Library>.agree(key, generator.point, what)) == example.x)
            #expect(try hex(Agreement<Library>.agree(generator, key.point, what)) == example.x)
        }
        try check(subject.library)
    }

    /// The first and the last of the numbers that are keys, with their neighbours.
    @Test(arguments: Subject.allCases) func takesNumbersBelowTheOrder(_ subject: Subject) throws {
        let order = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc6325"
        let one = String(repeating: "00", count: 31) + "01"
        let generator = try point(
            "6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296",
            "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5"
        )
        func check<Library: SessionLibrary>(_: Library.Type) throws {
            for wrong in [
                String(repeating: "00", count: 32), order + "51", order + "52", String(repeating: "ff", count: 32),
            ] {
                #expect(try Library.P256Key.key(scalar: secret(bytes(wrong))) == nil, "\(wrong)")
            }
            for wrong in ["", "01", one + "00"] {
                #expect(try Library.P256Key.key(scalar: secret(bytes(wrong))) == nil, "\(wrong)")
            }
            for number in [one, order + "50"] {
                let key = try #require(try Library.P256Key.key(scalar: secret(bytes(number))))
                #expect(key.point.x == generator.x)
                #expect(try hex(Agreement<Library>.agree(key, generator, what)) == hex(generator.x))
            }
            let first = try #require(try Library.P256Key.key(scalar: secret(bytes(one))))
            #expect(first.point == generator)
        }
        try check(subject.library)
    }

    @Test func refusesCoordinatesOfAnotherSize() {
        let (good, long) = ([UInt8](repeating: 1, count: 32), [UInt8](repeating: 0, count: 33))
        for wrong in [[], Array(good.dropLast()), long] {
            #expect(P256Point(x: wrong, y: good) == nil)
            #expect(P256Point(x: good, y: wrong) == nil)
        }
    }

    /// A number that GMP would end the process for is none of a key.
    @Test func refusesWhatIsNoRSAKey() throws {
        let good = [UInt8](repeating: 0xff, count: 256)
        #expect(RSAPublicKey(modulus: good, exponent: 65537) != nil)
        for exponent in [0, 1, 2, 65536] as [UInt32] { #expect(RSAPublicKey(modulus: good, exponent: exponent) == nil) }
        let zero = [UInt8](repeating: 0, count: 256)
        let wrong: [[UInt8]] = [
            [], [1], zero, good.dropLast() + [0xfe], [0] + good.dropFirst(), Array(good.prefix(127)), zero + good,
        ]
        for modulus in wrong {
            #expect(RSAPublicKey(modulus: modulus, exponent: 65537) == nil)
        }
    }

    /// Moduli that are products of no two primes are numbers nevertheless.
    @Test(arguments: Subject.allCases) func encryptsToAnyOddModulus(_ subject: Subject) throws {
        func check<Library: SessionLibrary>(_: Library.Type) throws {
            for modulus in [
                [UInt8](repeating: 0xff, count: 256), [1] + [UInt8](repeating: 0, count: 254) + [1],
                [UInt8](repeating: 3, count: 128),
            ] {
                let key = try #require(RSAPublicKey(modulus: modulus, exponent: .max))
                let encrypted = try KeyTransport<Library>.encrypt(secret(pattern(32)), key, label: [], what)
                #expect(encrypted.count == modulus.count)
            }
        }
        try check(subject.library)
    }

    /// OAEP is random: openssl(1) decrypts it, at every size at which something changes.
    @Test(arguments: Subject.allCases) func encryptsWithRSAOAEP(_ subject: Subject) throws {
        let key = try OpenSSLKey()
        func check<Library: SessionLibrary>(_: Library.Type) throws {
            for (size, label) in [
                (32, Array("SECRET".utf8) + [0]), (0, [1]), (1, []), (190, [UInt8](repeating: 7, count: 200)),
            ] {
                let encrypted = try KeyTransport<Library>.encrypt(
                    secret(pattern(size)),
                    key.publicKey,
                    label: label,
                    what
                )
                #expect(encrypted.count == 256)
                #expect(try key.decrypt(encrypted, label: label) == pattern(size), "\(size)")
            }
            let error = #expect(throws: Failure.self) {
                try KeyTransport<Library>.encrypt(secret(pattern(191)), key.publicKey, label: [], what)
            }
            #expect("\(try #require(error))" == "cannot use the key: 191 bytes are too many for the key")
        }
        try check(subject.library)
    }

    private func point(_ x: String, _ y: String) throws -> P256Point {
        try #require(try P256Point(x: bytes(x), y: bytes(y)))
    }
}

/// A new RSA key of openssl(1), in a directory of its own.
private final class OpenSSLKey {
    private let directory = FileManager.default.temporaryDirectory.appendingPathComponent("\(UUID())")
    private(set) var publicKey: RSAPublicKey

    init() throws {
        publicKey = try #require(RSAPublicKey(modulus: [UInt8](repeating: 1, count: 128), exponent: 3))
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: false)
        _ = try openssl("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", "key.pem")
        let line = String(decoding: try openssl("rsa", "-in", "key.pem", "-noout", "-modulus"), as: UTF8.self)
        let digits = line.drop { $0 != "=" }.dropFirst().prefix { $0 != "\n" }
        publicKey = try #require(try RSAPublicKey(modulus: bytes(String(digits)), exponent: 65537))
    }

    deinit { try? FileManager.default.removeItem(at: directory) }

    func decrypt(_ encrypted: [UInt8], label: [UInt8]) throws -> [UInt8] {
        try Data(encrypted).write(to: directory.appendingPathComponent("encrypted"))
        let options = [
            "rsa_padding_mode:oaep", "rsa_oaep_md:sha256", label.isEmpty ? "" : "rsa_oaep_label:" + hex(label),
        ]
        let named = options.filter { !$0.isEmpty }.flatMap { ["-pkeyopt", $0] }
        return Array(try openssl(["pkeyutl", "-decrypt", "-inkey", "key.pem", "-in", "encrypted"] + named))
    }

    private func openssl(_ arguments: String...) throws -> Data { try openssl(arguments) }

    private func openssl(_ arguments: [String]) throws -> Data {
        let (process, output) = (Process(), Pipe())
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = ["openssl"] + arguments
        process.currentDirectoryURL = directory
        process.standardOutput = output
        process.standardError = FileHandle.nullDevice
        try process.run()
        let read = output.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        try #require(process.terminationStatus == 0, "openssl \(arguments.joined(separator: " "))")
        return read
    }
}
