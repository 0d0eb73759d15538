import Crypto
import CryptoTransfer
import Platform

/// The keys of an export's recipient, read from the operator's files.
extension AgreementKey {
    /// The SHA-256 of the public key, which names the recipient in the header.
    var fingerprint: [UInt8] {
        get throws(Failure) { try SHA256.digest(publicKey) }
    }

    /// Parses a recipient's public key, in the form that `openssl pkey -pubout` writes.
    static func recipient(publicPEM file: [UInt8], _ what: String) throws(Failure) -> AgreementKey {
        let hint = "make it with: openssl pkey -in key.pem -pubout"
        let copy = try SecretBytes(capacity: max(file.count, 1))
        guard copy.append(copying: file), let block = try PEMBlock.first(in: copy) else {
            throw Failure(what, because: "the public key is no PEM file", hint: hint)
        }
        if block.label == "RSA PUBLIC KEY" { throw unsupported(what) }
        guard block.label == "PUBLIC KEY" else {
            let why = "the public key's file holds a \"\(block.label.prefix(40))\", not a \"PUBLIC KEY\""
            throw Failure(what, because: why, hint: hint)
        }
        let parsed = try block.contents.withBytes { (bytes) throws(Failure) in try parse(publicKey: bytes, what) }
        switch parsed {
        case .key(let key): return key
        case .damaged: throw Failure(what, because: "the public key is damaged", hint: hint)
        case .unsupported: throw unsupported(what)
        }
    }

    /// Parses a recipient's private key, in a form that `openssl genpkey` or `openssl ecparam -genkey` writes.
    static func identity(privatePEM file: SecretBytes, _ what: String) throws(Failure) -> AgreementKey {
        guard let block = try PEMBlock.first(in: file) else {
            throw Failure(
                what,
                because: "the private key is no PEM file",
                hint: "openssl pkey -inform DER -in key.der -out key.pem, where it is one in DER"
            )
        }
        guard !block.isEncrypted, block.label != "ENCRYPTED PRIVATE KEY" else {
            throw Failure(
                what,
                because: "the private key is encrypted",
                hint: "decrypt it where only root can read it: openssl pkey -in key.pem -out decrypted.pem"
            )
        }
        guard block.label != "OPENSSH PRIVATE KEY" else {
            throw Failure(
                what,
                because: "the private key is in OpenSSH's own format, and an export is never made for one of OpenSSH's",
                hint: "give the key that the export was made for"
            )
        }
        guard block.label.hasSuffix("PRIVATE KEY") else {
            let why = "the private key's file holds a \"\(block.label.prefix(40))\", not a \"PRIVATE KEY\""
            throw Failure(what, because: why)
        }
        let parsed = try block.contents.withBytes { (bytes) throws(Failure) in try parse(privateKey: bytes, what) }
        switch parsed {
        case .key(let key): return key
        case .damaged: throw Failure(what, because: "the private key is damaged")
        case .unsupported: throw unsupported(what)
        }
    }

    /// Parses the ephemeral public key in a header; returns nil if it is malformed or not encoded as we encode it.
    static func ephemeral(publicKey encoded: [UInt8]) -> AgreementKey? {
        guard let copy = try? SecretBytes(capacity: max(encoded.count, 1)), copy.append(copying: encoded) else {
            return nil
        }
        let parsed = try? copy.withBytes { (bytes) throws(Failure) in try parse(publicKey: bytes, "") }
        guard case .key(let key)? = parsed, key.publicKey == encoded else { return nil }
        return key
    }

    private static func unsupported(_ what: String) -> Failure {
        Failure(
            what,
            because: "keys of this kind cannot be used for an export, only \(Kind.names)",
            hint: "make one with: openssl genpkey -algorithm X25519"
        )
    }
}
