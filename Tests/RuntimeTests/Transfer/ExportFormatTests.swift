import Crypto
import Foundation
import Platform
import RuntimeFormat
import TestSupport
import Testing

@testable import RuntimeTransfer

/// The layout itself, and files that somebody made to do harm: their check is right.
@Suite struct ExportFormatTests {
    let passphrase: SecretBytes
    let keys: ExportKeys

    init() throws {
        passphrase = try secretText("correct horse")
        keys = try ExportKeys()
    }

    /// Changes a header and makes its check right again.
    func forged(_ file: [UInt8], _ change: (inout [UInt8]) -> Void) throws -> [UInt8] {
        let (_, size) = try ExportHeader.parse(file, "")
        var header = Array(file[..<(size - 16)])
        change(&header)
        return header + (try SHA256.digest(header).prefix(16)) + file[size...]
    }

    func opening(_ file: [UInt8], with opener: ExportCredential? = nil) -> String {
        words { () throws(Failure) in
            _ = try StateExport.open(file, with: opener ?? .passphrase(passphrase), path: "/x")
        }
    }

    @Test func opensWhatWasWrittenAfterTheDescription() throws {
        let path = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
            .appendingPathComponent("../Fixtures/exports").standardizedFileURL.path
        var names: Set<Substring> = []
        for line in try String(contentsOfFile: path, encoding: .utf8).split(separator: "\n") where !line.hasPrefix("#")
        {
            let fields = line.split(separator: " ")
            let file = Array(try #require(Data(base64Encoded: String(fields[1]))))
            let pem = "-----BEGIN PRIVATE KEY-----\n\(fields[2])\n-----END PRIVATE KEY-----\n"
            let opener =
                fields[2] == "-"
                ? ExportCredential.passphrase(passphrase) : .identity(privateKeyPEM: try secretText(pem))
            let state = try StateExport.open(file, with: opener, path: "")
            #expect(state.stateID == "web")
            #expect(plain(state.permanent) == Array("seeds of a TPM".utf8))
            names.insert(fields[0])
        }
        #expect(names == ["passphrase", "x25519", "p256", "p384"])
    }

    /// RFC 7914, 12, the first 32 bytes of its third example.
    @Test func derivesAsTheRFCDoes() throws {
        let salt = Array("SodiumChloride".utf8)
        let key = try Scrypt(logN: 14, r: 8, p: 1).key(of: secretText("pleaseletmein"), salt: salt)
        let expected: [UInt8] = [
            0x70, 0x23, 0xbd, 0xcb, 0x3a, 0xfd, 0x73, 0x48, 0x46, 0x1c, 0x06, 0xcd, 0x81, 0xfd, 0x38, 0xeb,
            0xfd, 0xa8, 0xfb, 0xba, 0x90, 0x4f, 0x8e, 0x3e, 0xa9, 0xb5, 0x43, 0xf6, 0x54, 0x5d, 0xa1, 0xf2,
        ]
        #expect(plain(key) == expected)
    }

    @Test func everyByteOfTheHeaderIsAuthenticated() throws {
        let scrypt = StateExportTests.cheap
        let file = try StateExport.seal(state(), with: .passphrase(passphrase), scrypt: scrypt)
        let (header, size) = try ExportHeader.parse(file, "")
        let key = try scrypt.key(of: passphrase, salt: header.protection.random)
        func opens(_ associatedData: [UInt8]) throws -> Bool {
            try AES256GCM.open(file[size...], key: key, nonce: header.nonce, associatedData: associatedData) != nil
        }
        #expect(try opens(Array(file[..<size])))
        for index in 0..<size {
            var other = Array(file[..<size])
            other[index] ^= 1
            #expect(try !opens(other), "byte \(index)")
        }
    }

    @Test func refusesEveryForgedHeader() throws {
        let locked = try StateExport.seal(state(), with: .passphrase(passphrase), scrypt: StateExportTests.cheap)
        let addressed = try StateExport.seal(state(), with: .recipient(publicKeyPEM: keys.publicKey("p256")))
        let identity = ExportCredential.identity(privateKeyPEM: try keys.privateKey("p256"))
        for (file, opener) in [(locked, ExportCredential.passphrase(passphrase)), (addressed, identity)] {
            let (_, size) = try ExportHeader.parse(file, "")
            for index in 0..<(size - 16) * 8 {
                let forgery = try forged(file) { $0[index / 8] ^= 1 << (index % 8) }
                #expect(!opening(forgery, with: opener).isEmpty, "bit \(index % 8) of byte \(index / 8)")
            }
        }
    }

    @Test(
        arguments: [
            // Memory: 2^19 * 8 * 128 bytes are 512 MiB.
            (19, 8, 1), (40, 8, 1), (63, 8, 1), (64, 8, 1), (255, 8, 1), (17, 17, 1), (10, 0xffff_ffff, 1),
            // Time.
            (17, 8, 9), (1, 8, 0xffff_ffff), (10, 1, 0x1000_0000), (18, 8, 5),
            // No scrypt at all.
            (0, 8, 1), (17, 0, 1), (17, 8, 0),
        ] as [(UInt8, UInt32, UInt32)]
    )
    func refusesToWorkTooHard(logN: UInt8, r: UInt32, p: UInt32) throws {
        let file = try StateExport.seal(state(), with: .passphrase(passphrase), scrypt: StateExportTests.cheap)
        var parameters = ByteWriter()
        parameters.write(logN)
        parameters.write(r)
        parameters.write(p)
        let forgery = try forged(file) { $0.replaceSubrange(28..<37, with: parameters.bytes) }
        #expect(
            opening(forgery).contains("cost too much memory or time to try (scrypt with N=2^\(logN), r=\(r), p=\(p))")
        )
    }

    @Test func bearsWhatMayComeLater() {
        #expect(Scrypt(logN: 18, r: 8, p: 1).isBearable)
        #expect(Scrypt(logN: 17, r: 8, p: 8).isBearable)
        #expect(Scrypt.ours.isBearable)
    }

    @Test func saysThatItIsNewer() throws {
        let file = try StateExport.seal(state(), with: .passphrase(passphrase), scrypt: StateExportTests.cheap)
        #expect(opening(try forged(file) { $0[9] = 2 }).contains("it has format 2, newer than this version's 1"))
        #expect(opening(try forged(file) { $0[15] = 3 }).contains("protected in a way that this version does not know"))
    }

    /// Where the ephemeral key is not on the curve, or has a small order, the answer could tell of the private key.
    @Test func refusesEphemeralKeysThatAreNone() throws {
        for name in ["x25519", "p256"] {
            let file = try StateExport.seal(state(), with: .recipient(publicKeyPEM: keys.publicKey(name)))
            let identity = ExportCredential.identity(privateKeyPEM: try keys.privateKey(name))
            let (_, size) = try ExportHeader.parse(file, "")
            let point = (size - 16 - 4 - 32)..<(size - 16 - 4)
            let zero = try forged(file) { $0.replaceSubrange(point, with: [UInt8](repeating: 0, count: 32)) }
            #expect(!opening(zero, with: identity).contains("payload is damaged"), "\(name)")
            // Another kind than the recipient's, in a header that is in order.
            let other = try keys.publicDER(name == "p256" ? "x25519" : "p256")
            let (header, _) = try ExportHeader.parse(file, "")
            guard case .recipient(let fingerprint, _) = header.protection else { continue }
            let mixed = try ExportHeader(
                .recipient(fingerprint: fingerprint, ephemeral: other),
                payloadSize: header.payloadSize
            ).encoded()
            let text = opening(mixed + file[size...], with: identity)
            #expect(text.contains("holds no key that goes with the recipient's"))
        }
    }

    @Test func survivesAnyRubbish() throws {
        var generator = SeededGenerator(seed: 3)
        for _ in 0..<2000 {
            let body = (0..<Int.random(in: 0...200, using: &generator)).map { _ in
                UInt8.random(in: 0...255, using: &generator)
            }
            var start = ByteWriter()
            start.write(FileFormat.export.magic)
            start.write(UInt16(1))
            start.write(UInt32(8 + 2 + 4 + 2 + body.count + 16))
            start.write(UInt16.random(in: 0...3, using: &generator))
            start.write(body)
            start.write(try SHA256.digest(start.bytes).prefix(16))
            start.write([UInt8](repeating: 0, count: 40))
            #expect(!opening(start.bytes).isEmpty)
        }
    }

    @Test func refusesAPayloadThatIsNotOneState() throws {
        func item(_ kind: UInt16, _ contents: [UInt8]) -> [UInt8] {
            var writer = ByteWriter()
            writer.write(Item(kind, contents))
            return writer.bytes
        }
        let (name, permanent) = (item(1, [0x61]), item(2, seeds))
        #expect(try ExportedState(decoding: secretCopy(of: name + permanent)) != nil)
        let beside = try #require(try ExportedState(decoding: secretCopy(of: name + permanent + item(3, [7, 8]))))
        #expect(beside.authority?.withBytes { Array($0) } == [7, 8])
        #expect(try Array(name + permanent + item(3, [7, 8])) == beside.encoded().withBytes { Array($0) })
        let long = item(1, [UInt8](repeating: 0x61, count: 4097))
        for payload in [
            name, permanent, name + permanent + [0], name + name + permanent, name + permanent + permanent,
            name + permanent + item(3, []), name + permanent + item(3, [1]) + item(3, [1]),
            name + permanent + item(4, [1]),
            name + permanent + item(3, [UInt8](repeating: 1, count: ExportedState.authorityLimit + 1)),
            item(1, []) + permanent, name + item(2, []), item(1, [0xff]) + permanent,
            long + permanent, name + permanent.dropLast(), name + item(2, []) + permanent,
            [0, 1, 0xff, 0xff, 0xff, 0xff],
            name + item(2, [UInt8](repeating: 1, count: 256 << 10 + 1)),
        ] {
            #expect(try ExportedState(decoding: secretCopy(of: payload)) == nil)
        }
        #expect(try ExportedState(decoding: SecretBytes(capacity: 1)) == nil)
    }
}

extension ExportKeys {
    /// A public key as it stands in a header.
    func publicDER(_ name: String) throws -> [UInt8] {
        _ = try privateKey(name)
        return try temporary.output(of: "openssl pkey -in \(name).pem -pubout -outform DER")
    }
}
