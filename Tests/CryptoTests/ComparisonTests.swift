import CryptoLibCrypto
import CryptoNettle
import Platform
import Testing

@testable import Crypto

/// One library compared with the other, at sizes and cuts for which no standard has examples.
///
/// States and index are written by one program and read by another, each with its own library.
@Suite struct ComparisonTests {
    private typealias First = LibCryptoPrimitives
    private typealias Second = Nettle

    /// Around the blocks of SHA-256, and the cuts in a block.
    @Test func hashesTheSame() throws {
        for size in Array(0...130) + [1000, 65_537] {
            let bytes = pattern(size)
            #expect(try Digest<First>.digest(bytes) == Digest<Second>.digest(bytes), "\(size)")
        }
        let bytes = pattern(130)
        for first in stride(from: 0, through: 130, by: 13) {
            for last in stride(from: first, through: 130, by: 7) {
                let message = try pieces(bytes, first, last)
                let one = try hex(Digest<Second>.secretDigest(message))
                #expect(try one == hex(Digest<First>.digest(bytes)), "\(first) \(last)")
            }
        }
    }

    @Test func authenticatesTheSame() throws {
        for size in [1, 31, 32, 63, 64, 65, 127, 200] {
            let key = try secret(pattern(size, 3))
            for length in [0, 1, 55, 56, 64, 1000] {
                let bytes = pattern(length)
                #expect(try KeyedDigest<First>.tag(key: key, bytes) == KeyedDigest<Second>.tag(key: key, bytes))
            }
        }
    }

    /// Up to the last size that HKDF has.
    @Test func derivesTheSame() throws {
        for size in [1, 31, 32, 33, 64, 82, 255 * 32 - 1, 255 * 32] {
            for (salt, info) in [(0, 0), (13, 0), (0, 10), (80, 80), (16, 300)] {
                let one = try derive(First.self, size, salt: pattern(salt, 1), info: pattern(info, 2))
                #expect(try one == derive(Second.self, size, salt: pattern(salt, 1), info: pattern(info, 2)))
                #expect(one != nil)
            }
        }
    }

    /// RFC 5869, 2.3: the next byte would need a block 256.
    @Test(arguments: [0, 255 * 32 + 1, 100_000], Subject.allCases)
    func refusesToDerive(_ size: Int, _ subject: Subject) throws {
        func check<Library: SessionLibrary>(_ library: Library.Type) throws {
            #expect(try derive(library, size, salt: [], info: [1]) == nil)
        }
        try check(subject.library)
    }

    private func derive<Library: PrimitiveLibrary>(
        _: Library.Type,
        _ size: Int,
        salt: [UInt8],
        info: [UInt8]
    ) throws -> [UInt8]? {
        let key = try secret(pattern(22))
        var output = [UInt8](repeating: 0, count: size)
        let isDone = output.withUnsafeMutableBytes { Library.hkdfSHA256(key: key, salt: salt, info: info, into: $0) }
        return isDone ? output : nil
    }

    /// Sizes around blocks, and associated data that may be empty as well.
    @Test func encryptsTheSame() throws {
        for size in Array(0...50) + [255, 256, 1000, 4096, 65_537] {
            for data in [0, 1, 15, 16, 17, 300] {
                let box = Box(associatedData: pattern(data, 9))
                let message = SecretMessage(secret: try secret(pattern(size)))
                let sealed = try box.seal(First.self, message)
                #expect(try box.seal(Second.self, message) == sealed, "\(size) \(data)")
                #expect(try box.open(First.self, sealed).map(hex) == hex(pattern(size)))
                #expect(try box.open(Second.self, sealed).map(hex) == hex(pattern(size)))
            }
        }
    }

    /// nettle takes whole blocks: every way to cut three and a half of them in three.
    @Test func encryptsTheSameWhereverItIsCut() throws {
        let box = Box(associatedData: [1])
        let bytes = pattern(56)
        let expected = try box.seal(First.self, SecretMessage(secret: secret(bytes)))
        for first in 0...56 {
            for last in first...56 {
                let message = try pieces(bytes, first, last)
                #expect(try box.seal(Second.self, message) == expected, "\(first) \(last)")
            }
        }
    }

    /// Every bit of a sealed message, of the key, the nonce and the associated data counts.
    @Test(arguments: Subject.allCases) func refusesEveryBit(_ subject: Subject) throws {
        func check<Library: SessionLibrary>(_ library: Library.Type) throws {
            let box = Box(associatedData: pattern(5))
            let sealed = try box.seal(library, SecretMessage(secret: secret(pattern(20))))
            for index in sealed.indices {
                for bit in 0..<8 { #expect(try box.open(library, flipped(sealed, index, bit)) == nil) }
            }
            for index in 0..<32 {
                let other = Box(key: flipped(box.key, index, index % 8), associatedData: box.associatedData)
                #expect(try other.open(library, sealed) == nil)
            }
            for index in 0..<12 {
                let nonce = flipped(box.nonce, index, index % 8)
                #expect(try Box(nonce: nonce, associatedData: box.associatedData).open(library, sealed) == nil)
            }
            for data in [[], pattern(4), pattern(6), flipped(pattern(5), 4, 7)] {
                #expect(try Box(associatedData: data).open(library, sealed) == nil)
            }
            // The tag of an empty message, and what is shorter than a tag.
            let empty = try box.seal(library, SecretMessage(secret: nil))
            #expect(try box.open(library, empty).map(hex) == "")
            #expect(try box.open(library, flipped(empty, 15, 0)) == nil)
            for size in 0..<16 { #expect(try box.open(library, Array(empty.prefix(size))) == nil) }
        }
        try check(subject.library)
    }

    @Test func comparesTheSame() {
        for size in [0, 1, 15, 16, 17, 31, 32, 33] {
            let bytes = pattern(size)
            #expect(KeyedDigest<Second>.areEqual(bytes, bytes))
            for index in bytes.indices {
                for bit in 0..<8 { #expect(!KeyedDigest<Second>.areEqual(bytes, flipped(bytes, index, bit))) }
            }
        }
    }

    @Test func encryptsTheSameWithCFB() throws {
        for size in [0, 1, 15, 16, 17, 100, 1000] {
            let key = try secret(pattern(32, size))
            let plaintext = try secret(pattern(size, 5))
            let one = try FeedbackEncryption<First>.encrypt(plaintext, keyAndVector: key)
            #expect(try FeedbackEncryption<Second>.encrypt(plaintext, keyAndVector: key) == one)
            #expect(try hex(FeedbackEncryption<Second>.decrypt(one, keyAndVector: key)) == hex(plaintext))
        }
    }

    /// More than getrandom(2) gives in one call that a signal interrupts.
    @Test func fillsAllThatItIsAskedFor() throws {
        let zeros = [UInt8](repeating: 0, count: 16)
        for size in [1, 256, 257, 100_000] {
            let bytes = try RandomSource<Second>.bytes(count: size)
            #expect(bytes.count == size)
            if size > 100 { #expect(Array(bytes.suffix(16)) != zeros) }
        }
        #expect(try RandomSource<Second>.bytes(count: 0) == [])
    }

    /// Only nettle has tables, and only where the processor has no instructions, as the kernel names them.
    @Test func knowsWhetherItUsesTables() throws {
        let processors = try Descriptor.open("/proc/cpuinfo", .read).readAll(limit: 16 << 20, "/proc/cpuinfo")
        let words = Set(String(decoding: processors, as: UTF8.self).split { " \t\n".contains($0) })
        let hasInstructions = words.contains("aes") && (words.contains("pclmulqdq") || words.contains("pmull"))
        #expect(Nettle.computesAESByTables == !hasInstructions)
        #expect(!LibCryptoPrimitives.computesAESByTables)
    }

    @Test func saysThatItUsesTables() throws {
        #expect(AESNotice.text(byTables: false) == nil)
        #expect(try #require(AESNotice.text(byTables: true)).hasPrefix("the processor has no instructions for AES"))
    }

    private func pieces(_ bytes: [UInt8], _ first: Int, _ last: Int) throws -> SecretMessage {
        SecretMessage(
            prefix: Array(bytes[..<first]),
            secret: try secret(Array(bytes[first..<last])),
            suffix: Array(bytes[last...])
        )
    }
}

private func flipped(_ bytes: [UInt8], _ index: Int, _ bit: Int) -> [UInt8] {
    var bytes = bytes
    bytes[index] ^= 1 << UInt8(bit)
    return bytes
}

/// Key, nonce and associated data for one message.
private struct Box {
    let key: [UInt8]
    let nonce: [UInt8]
    let associatedData: [UInt8]

    init(key: [UInt8] = pattern(32, 100), nonce: [UInt8] = pattern(12, 200), associatedData: [UInt8]) {
        self.key = key
        self.nonce = nonce
        self.associatedData = associatedData
    }

    func seal<Library: PrimitiveLibrary>(_: Library.Type, _ message: SecretMessage) throws -> [UInt8] {
        try AuthenticatedEncryption<Library>.seal(
            message,
            key: secret(key),
            nonce: nonce,
            associatedData: associatedData
        )
    }

    func open<Library: PrimitiveLibrary>(_: Library.Type, _ sealed: [UInt8]) throws -> SecretBytes? {
        try AuthenticatedEncryption<Library>.open(
            sealed[...],
            key: secret(key),
            nonce: nonce,
            associatedData: associatedData
        )
    }
}
