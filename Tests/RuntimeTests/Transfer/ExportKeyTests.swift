import Platform
import RuntimeState
import Testing

@testable import RuntimeTransfer

/// Recipients' keys, made by the openssl program.
struct ExportKeys {
    let temporary: TemporaryDirectory
    private static let commands = [
        "x25519": "openssl genpkey -algorithm X25519",
        "other": "openssl genpkey -algorithm X25519",
        "p256": "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256",
        "p384": "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-384",
        // The parameters of the curve come first, and the key is not PKCS #8.
        "ecparam": "openssl ecparam -name prime256v1 -genkey",
        "rsa": "openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048",
        "ed25519": "openssl genpkey -algorithm ED25519",
        "p521": "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-521",
        "k256": "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:secp256k1",
        "explicit": "openssl ecparam -name prime256v1 -genkey -noout -param_enc explicit",
    ]

    init() throws {
        temporary = try TemporaryDirectory()
    }

    /// A private key; the same one each time.
    func privateKey(_ name: String) throws -> SecretBytes {
        if name == "compressed" {
            _ = try privateKey("p256")
            return try secretCopy(of: temporary.output(of: "openssl ec -in p256.pem -conv_form compressed"))
        }
        if !temporary.exists("\(name).pem") {
            let command = try #require(Self.commands[name])
            try temporary.shell("\(command) >\(name).pem")
        }
        return try secretCopy(of: temporary.read("\(name).pem"))
    }

    /// Its public key.
    func publicKey(_ name: String) throws -> [UInt8] {
        _ = try privateKey(name)
        if name == "compressed" {
            return try temporary.output(of: "openssl ec -in p256.pem -pubout -conv_form compressed")
        }
        return try temporary.output(of: "openssl pkey -in \(name).pem -pubout")
    }

    /// The SHA-256 of its public key, as sha256sum prints it.
    func fingerprint(_ name: String) throws -> String {
        _ = try privateKey(name)
        let line = try temporary.output(of: "openssl pkey -in \(name).pem -pubout -outform DER | sha256sum")
        return String(decoding: line.prefix(64), as: UTF8.self)
    }
}

@Suite struct ExportKeyTests {
    let keys: ExportKeys

    init() throws {
        keys = try ExportKeys()
    }

    func sealing(for pem: [UInt8]) throws -> String {
        let state = try state()
        return words { () throws(Failure) in _ = try StateExport.seal(state, with: .recipient(publicKeyPEM: pem)) }
    }

    func opening(with pem: [UInt8]) throws -> String {
        let file = try StateExport.seal(state(), with: .recipient(publicKeyPEM: keys.publicKey("p256")))
        let opener = ExportCredential.identity(
            privateKeyPEM: pem.isEmpty ? try SecretBytes(capacity: 1) : try secretCopy(of: pem)
        )
        return words { () throws(Failure) in _ = try StateExport.open(file, with: opener, path: "") }
    }

    @Test(arguments: ["rsa", "ed25519", "p521", "k256", "explicit"])
    func refusesKeysOfOtherKinds(name: String) throws {
        let expected = "keys of this kind cannot be used for an export, only X25519, P-256 and P-384"
        #expect(try sealing(for: keys.publicKey(name)).contains(expected))
        #expect(try opening(with: plain(keys.privateKey(name))).contains(expected))
    }

    @Test func refusesAnEncryptedPrivateKeyWithoutAsking() throws {
        _ = try keys.privateKey("p256")
        for command in [
            "openssl pkey -in p256.pem -aes256 -passout pass:secret",
            "openssl ec -in p256.pem -aes128 -passout pass:secret",
        ] {
            let pem = try keys.temporary.output(of: command)
            let text = try opening(with: pem)
            #expect(text.contains("the private key is encrypted"), "\(command): \(text)")
            #expect(text.contains("openssl pkey -in"))
        }
    }

    @Test func saysWhatIsWrongWithAPublicKey() throws {
        #expect(try sealing(for: []).contains("the public key is no PEM file"))
        #expect(try sealing(for: [UInt8](repeating: 0xff, count: 1000)).contains("the public key is no PEM file"))
        #expect(try sealing(for: plain(keys.privateKey("x25519"))).contains("holds a \"PRIVATE KEY\""))
        let rsa = try keys.privateKey("rsa")
        #expect(rsa.count > 0)
        let old = try keys.temporary.output(of: "openssl rsa -in rsa.pem -RSAPublicKey_out")
        #expect(try sealing(for: old).contains("keys of this kind"))
        let pem = String(decoding: try keys.publicKey("x25519"), as: UTF8.self)
        let lines = pem.split(separator: "\n")
        let cut = "\(lines[0])\n\(lines[1].prefix(40))\n\(lines[2])\n"
        #expect(try sealing(for: Array(cut.utf8)).contains("the public key is damaged"))
        let longer = try keys.temporary.output(
            of: "(openssl pkey -in x25519.pem -pubout -outform DER; printf x) | base64 | "
                + "(echo '\(lines[0])'; cat; echo '\(lines[2])')"
        )
        #expect(try sealing(for: longer).contains("the public key is damaged"))
    }

    @Test func saysWhatIsWrongWithAPrivateKey() throws {
        #expect(try opening(with: []).contains("the private key is no PEM file"))
        #expect(try opening(with: seeds).contains("the private key is no PEM file"))
        #expect(try opening(with: keys.publicKey("p256")).contains("holds a \"PUBLIC KEY\""))
        let rubbish = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"
        #expect(try opening(with: Array(rubbish.utf8)).contains("the private key is damaged"))
    }

    /// All-zero and other points of small order give every private key the same secret. RFC 7748, 6.1
    @Test func refusesARecipientWhoseSecretAnybodyKnows() throws {
        let der =
            [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x6e, 0x03, 0x21, 0x00] + [UInt8](repeating: 0, count: 32)
        try keys.temporary.write("zero", der)
        let pem = try keys.temporary.output(of: "openssl pkey -pubin -inform DER -in zero -pubout")
        #expect(try sealing(for: pem).contains("cannot export the state"))
    }

    @Test func survivesEveryFlippedBitOfAKey() throws {
        let file = try StateExport.seal(state(), with: .recipient(publicKeyPEM: keys.publicKey("p256")))
        for name in ["x25519", "p256"] {
            let (identity, recipient) = (plain(try keys.privateKey(name)), try keys.publicKey(name))
            let state = try state()
            for index in 0..<identity.count * 8 {
                var damaged = identity
                damaged[index / 8] ^= 1 << (index % 8)
                let opener = ExportCredential.identity(privateKeyPEM: try secretCopy(of: damaged))
                // Some bits are those of padding, or of the public key that a private key repeats.
                if let opened = try? StateExport.open(file, with: opener, path: "") {
                    #expect(plain(opened.permanent) == seeds)
                }
            }
            for index in 0..<recipient.count * 8 {
                var damaged = recipient
                damaged[index / 8] ^= 1 << (index % 8)
                _ = try? StateExport.seal(state, with: .recipient(publicKeyPEM: damaged))
            }
        }
    }
}
