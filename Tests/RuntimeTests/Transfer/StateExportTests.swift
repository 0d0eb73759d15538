import Platform
import Testing

@testable import RuntimeTransfer

/// What an export promises to its two sides.
@Suite struct StateExportTests {
    /// As cheap as scrypt can be, so that many files can be tried.
    static let cheap = Scrypt(logN: 4, r: 1, p: 1)
    let passphrase: SecretBytes
    let keys: ExportKeys

    init() throws {
        passphrase = try secretText("correct horse")
        keys = try ExportKeys()
    }

    func open(_ file: [UInt8]) throws(Failure) -> ExportedState {
        try StateExport.open(file, with: .passphrase(passphrase), path: "/x/web.export")
    }

    @Test func aPassphraseOpensWhatItSealed() throws {
        let file = try StateExport.seal(state(), with: .passphrase(passphrase))
        let opened = try open(file)
        #expect(opened.stateID == "web")
        #expect(plain(opened.permanent) == seeds)
        #expect(try ExportHeader.parse(file, "").header.protection.scrypt == Scrypt(logN: 17, r: 8, p: 1))
    }

    @Test(arguments: ["x25519", "p256", "p384", "ecparam", "compressed"])
    func aPrivateKeyOpensWhatWasSealedForIt(name: String) throws {
        let file = try StateExport.seal(state(), with: .recipient(publicKeyPEM: keys.publicKey(name)))
        let opener = ExportCredential.identity(privateKeyPEM: try keys.privateKey(name))
        let opened = try StateExport.open(file, with: opener, path: "")
        #expect(opened.stateID == "web")
        #expect(plain(opened.permanent) == seeds)
    }

    @Test func theFormOfAPublicKeyDoesNotMatter() throws {
        let file = try StateExport.seal(state(), with: .recipient(publicKeyPEM: keys.publicKey("compressed")))
        let opener = ExportCredential.identity(privateKeyPEM: try keys.privateKey("p256"))
        #expect(plain(try StateExport.open(file, with: opener, path: "").permanent) == seeds)
    }

    @Test func holdsTheLargestState() throws {
        let id = String(repeating: "i", count: 4096)
        let largest = try state(id, [UInt8](repeating: 7, count: 256 << 10))
        let file = try StateExport.seal(largest, with: .passphrase(passphrase), scrypt: Self.cheap)
        #expect(file.count <= StateExport.fileLimit)
        #expect(plain(try open(file).permanent) == plain(largest.permanent))
        let larger = try state("web", [UInt8](repeating: 7, count: 256 << 10 + 1))
        #expect(try refusal(of: larger).contains("262145 bytes, more than 262144"))
        #expect(try refusal(of: state(id + "i")).contains("its ID has more than 4096 bytes"))
        #expect(try refusal(of: state("")).contains("its ID is empty"))
        let nothing = ExportedState(stateID: "web", permanent: try SecretBytes(capacity: 1))
        #expect(try refusal(of: nothing).contains("\"web\": it is empty"))
        let tooLarge = [UInt8](repeating: 0, count: StateExport.fileLimit + 1)
        #expect(words { () throws(Failure) in _ = try open(tooLarge) }.contains("larger than any export"))
    }

    func refusal(of state: ExportedState) throws -> String {
        words { () throws(Failure) in
            _ = try StateExport.seal(state, with: .passphrase(passphrase), scrypt: Self.cheap)
        }
    }

    @Test func showsNothingOfWhatItHolds() throws {
        let id = "a-state-id-that-says-much"
        let recipient = ExportProtection.recipient(publicKeyPEM: try keys.publicKey("p256"))
        for protection in [ExportProtection.passphrase(passphrase), recipient] {
            let file = try StateExport.seal(state(id), with: protection, scrypt: Self.cheap)
            for text in [seeds, Array(id.utf8), plain(passphrase)] {
                for start in 0...text.count - 8 { #expect(!contains(file, text[start..<start + 8])) }
            }
        }
    }

    @Test(arguments: ["passphrase", "x25519", "p384"])
    func twoExportsHaveNothingInCommon(protection: String) throws {
        var headers: [ExportHeader] = []
        var payloads: [[UInt8]] = []
        for _ in 0..<2 {
            let with: ExportProtection =
                protection == "passphrase"
                ? .passphrase(passphrase) : .recipient(publicKeyPEM: try keys.publicKey(protection))
            let file = try StateExport.seal(state(), with: with, scrypt: Self.cheap)
            let (header, size) = try ExportHeader.parse(file, "")
            headers.append(header)
            payloads.append(Array(file[size...]))
        }
        #expect(headers[0].nonce != headers[1].nonce)
        #expect(headers[0].protection.random != headers[1].protection.random)
        #expect(zip(payloads[0], payloads[1]).filter { $0 == $1 }.count < 12)
    }

    @Test func saysThatThePassphraseIsWrong() throws {
        let file = try StateExport.seal(state(), with: .passphrase(passphrase), scrypt: Self.cheap)
        for other in ["correct hors", "correct horse\n", "Correct horse", "x"] {
            let text = words { () throws(Failure) in
                let other = (try? secretText(other)) ?? passphrase
                _ = try StateExport.open(file, with: .passphrase(other), path: "/x/web.export")
            }
            #expect(text.contains("/x/web.export: the passphrase is wrong, or the payload is damaged"))
        }
        let empty = try SecretBytes(capacity: 1)
        let text = words { () throws(Failure) in
            _ = try StateExport.open(file, with: .passphrase(empty), path: "")
        }
        #expect(text.contains("the passphrase is empty"))
        let sealing = words { () throws(Failure) in
            _ = try StateExport.seal(
                ExportedState(stateID: "web", permanent: passphrase),
                with: .passphrase(empty)
            )
        }
        #expect(sealing.contains("the passphrase is empty"))
    }

    @Test func saysForWhomItWasMade() throws {
        for (one, other) in [("x25519", "other"), ("x25519", "p256"), ("p256", "x25519"), ("p384", "p256")] {
            let file = try StateExport.seal(state(), with: .recipient(publicKeyPEM: keys.publicKey(one)))
            let opener = ExportCredential.identity(privateKeyPEM: try keys.privateKey(other))
            let text = words { () throws(Failure) in _ = try StateExport.open(file, with: opener, path: "/x") }
            let (wanted, given) = (try keys.fingerprint(one), try keys.fingerprint(other))
            #expect(text.contains("it was made for the key \(wanted), not for \(given)"))
        }
    }

    @Test func saysWhichKindOfOpenerItTakes() throws {
        let identity = ExportCredential.identity(privateKeyPEM: try keys.privateKey("x25519"))
        let locked = try StateExport.seal(state(), with: .passphrase(passphrase), scrypt: Self.cheap)
        let addressed = try StateExport.seal(state(), with: .recipient(publicKeyPEM: keys.publicKey("x25519")))
        #expect(
            words { () throws(Failure) in _ = try StateExport.open(locked, with: identity, path: "") }
                .contains("made with a passphrase, not for a key")
        )
        #expect(words { () throws(Failure) in _ = try open(addressed) }.contains("not with a passphrase"))
    }

    @Test(arguments: ["passphrase", "x25519"])
    func refusesEveryTruncationAndEveryFlippedBit(protection: String) throws {
        let file: [UInt8]
        let opener: ExportCredential
        if protection == "passphrase" {
            file = try StateExport.seal(state(), with: .passphrase(passphrase), scrypt: Self.cheap)
            opener = .passphrase(passphrase)
        } else {
            file = try StateExport.seal(state(), with: .recipient(publicKeyPEM: keys.publicKey("x25519")))
            opener = .identity(privateKeyPEM: try keys.privateKey("x25519"))
        }
        _ = try StateExport.open(file, with: opener, path: "")
        for count in 0..<file.count {
            let text = words { () throws(Failure) in
                _ = try StateExport.open(Array(file[..<count]), with: opener, path: "/x/web.export")
            }
            #expect(text.contains("/x/web.export: it is truncated"), "\(count): \(text)")
        }
        let (_, size) = try ExportHeader.parse(file, "")
        for index in file.indices {
            for bit in 0..<8 {
                var damaged = file
                damaged[index] ^= 1 << bit
                let text = words { () throws(Failure) in
                    _ = try StateExport.open(damaged, with: opener, path: "/x/web.export")
                }
                let expected =
                    switch index {
                    case 0..<8: ["it is not an export"]
                    case 8..<10: ["newer than this", "header is damaged"]
                    case 10..<14: ["header is damaged", "truncated"]
                    case ..<size: ["header is damaged"]
                    default: ["payload is damaged"]
                    }
                #expect(expected.contains { text.contains($0) }, "bit \(bit) of byte \(index): \(text)")
            }
        }
        let text = words { () throws(Failure) in _ = try StateExport.open(file + [0], with: opener, path: "") }
        #expect(text.contains("its payload is damaged"))
    }

    @Test func saysThatItIsNoExport() {
        #expect(
            words { () throws(Failure) in _ = try open(Array("CVTPMST\n and so on".utf8)) }
                .contains("it is a state as it lies on its own host")
        )
        #expect(words { () throws(Failure) in _ = try open(Array("CVX".utf8)) }.contains("not an export"))
        for short in [Array("CVTPMEX".utf8), []] {
            #expect(words { () throws(Failure) in _ = try open(short) }.contains("it is truncated"))
        }
    }
}

extension ExportHeader.Protection {
    /// What must be another for each file.
    var random: [UInt8] {
        switch self {
        case .passphrase(_, let salt): salt
        case .recipient(_, let ephemeral): ephemeral
        }
    }

    /// The parameters, where there are any.
    var scrypt: Scrypt? {
        if case .passphrase(let scrypt, _) = self { scrypt } else { nil }
    }
}
