import CLibCrypto
import Platform

/// A key for Diffie-Hellman: X25519 (RFC 7748), or ECDH on P-256 or P-384 (NIST SP 800-56A).
final class AgreementKey {
    /// Which kind of key it is; both sides need the same.
    enum Kind: Equatable {
        case x25519
        case curve(String)

        /// The kinds that there are, for errors.
        static let names = "X25519, P-256 and P-384"
    }

    /// The public key as a SubjectPublicKeyInfo in DER, with an uncompressed point. RFC 5280, 4.1.2.7
    let publicKey: [UInt8]
    let kind: Kind
    private let key: OpaquePointer

    /// SHA-256 of the public key: it says whom a file is for.
    var fingerprint: [UInt8] {
        get throws(Failure) { try Sealing.sha256(publicKey) }
    }

    /// Takes over libcrypto's key, also where it throws.
    private init(adopting key: OpaquePointer, _ what: String) throws(Failure) {
        do {
            let kind = try Self.kind(of: key, what)
            self.publicKey = try Self.encoded(key, kind, what)
            self.kind = kind
            self.key = key
        } catch {
            EVP_PKEY_free(key)
            throw error
        }
    }

    deinit { EVP_PKEY_free(key) }

    /// A recipient's public key, as `openssl pkey -pubout` writes it.
    convenience init(publicPEM file: [UInt8], _ what: String) throws(Failure) {
        let remedy = "make it with: openssl pkey -in key.pem -pubout"
        let copy = try SecretBytes(capacity: max(file.count, 1))
        guard copy.append(copying: file), let block = try PEMBlock.first(in: copy) else {
            throw Failure(what, because: "the public key is no PEM file", remedy: remedy)
        }
        if block.label == "RSA PUBLIC KEY" { throw Self.unsupported(what) }
        guard block.label == "PUBLIC KEY" else {
            let why = "the public key's file holds a \"\(block.label.prefix(40))\", not a \"PUBLIC KEY\""
            throw Failure(what, because: why, remedy: remedy)
        }
        guard let key = block.contents.withBytes({ Self.parsePublic($0) }) else {
            throw Failure(what, because: "the public key is damaged", remedy: remedy)
        }
        try self.init(adopting: key, what)
    }

    /// A recipient's private key, as `openssl genpkey` and `openssl ecparam -genkey` write it.
    convenience init(privatePEM file: SecretBytes, _ what: String) throws(Failure) {
        guard let block = try PEMBlock.first(in: file) else {
            throw Failure(
                what,
                because: "the private key is no PEM file",
                remedy: "openssl pkey -inform DER -in key.der -out key.pem, where it is one in DER"
            )
        }
        guard !block.isEncrypted, block.label != "ENCRYPTED PRIVATE KEY" else {
            throw Failure(
                what,
                because: "the private key is encrypted",
                remedy: "decrypt it where only root can read it: openssl pkey -in key.pem -out decrypted.pem"
            )
        }
        guard block.label != "OPENSSH PRIVATE KEY" else {
            throw Failure(
                what,
                because: "the private key is in OpenSSH's own format, and an export is never made for one of OpenSSH's",
                remedy: "give the key that the export was made for"
            )
        }
        guard block.label.hasSuffix("PRIVATE KEY") else {
            let why = "the private key's file holds a \"\(block.label.prefix(40))\", not a \"PRIVATE KEY\""
            throw Failure(what, because: why)
        }
        let key = block.contents.withBytes { bytes in
            var next = bytes.unsigned
            return d2i_AutoPrivateKey(nil, &next, bytes.count)
        }
        ERR_clear_error()
        guard let key else { throw Failure(what, because: "the private key is damaged") }
        try self.init(adopting: key, what)
    }

    /// A public key out of a file's header; nothing where it is none, or has the point in another form than ours.
    static func parsed(_ encoded: [UInt8]) -> AgreementKey? {
        guard let key = encoded.withUnsafeBytes({ parsePublic($0) }),
            let parsed = try? AgreementKey(adopting: key, ""), parsed.publicKey == encoded
        else { return nil }
        return parsed
    }

    /// A new key of the same kind. EVP_PKEY_keygen(3)
    func ephemeral(_ what: String) throws(Failure) -> AgreementKey {
        let context: OpaquePointer?
        switch kind {
        case .x25519: context = EVP_PKEY_CTX_new_id(EVP_PKEY_X25519, nil)
        case .curve: context = EVP_PKEY_CTX_new_id(EVP_PKEY_EC, nil)
        }
        defer { EVP_PKEY_CTX_free(context) }
        guard RAND_status() == 1, context != nil, EVP_PKEY_keygen_init(context) == 1 else {
            throw Sealing.libcryptoFailure(what)
        }
        if case .curve(let name) = kind, EVP_PKEY_CTX_set_group_name(context, name) != 1 {
            throw Sealing.libcryptoFailure(what)
        }
        var key: OpaquePointer?
        guard EVP_PKEY_keygen(context, &key) == 1, let key else { throw Sealing.libcryptoFailure(what) }
        return try AgreementKey(adopting: key, what)
    }

    /// The secret that both sides have in common. EVP_PKEY_derive(3)
    ///
    /// libcrypto refuses a point that is not on the curve, and an X25519 key that makes the secret zero.
    func agree(with peer: AgreementKey, _ what: String) throws(Failure) -> SecretBytes {
        let context = EVP_PKEY_CTX_new_from_pkey(nil, key, nil)
        defer { EVP_PKEY_CTX_free(context) }
        var size = 0
        guard context != nil, EVP_PKEY_derive_init(context) == 1, EVP_PKEY_derive_set_peer(context, peer.key) == 1,
            EVP_PKEY_derive(context, nil, &size) == 1, size > 0
        else { throw Sealing.libcryptoFailure(what) }
        let secret = try SecretBytes(capacity: size)
        try secret.fill { (output) throws(Failure) in
            var length = output.count
            guard EVP_PKEY_derive(context, output.unsigned, &length) == 1, length == output.count else {
                throw Sealing.libcryptoFailure(what)
            }
        }
        return secret
    }

    private static func parsePublic(_ bytes: UnsafeRawBufferPointer) -> OpaquePointer? {
        var next = bytes.unsigned
        let key = d2i_PUBKEY(nil, &next, bytes.count)
        ERR_clear_error()
        guard let key else { return nil }
        // Nothing may follow the key.
        guard let base = bytes.unsigned, next == base + bytes.count else {
            EVP_PKEY_free(key)
            return nil
        }
        return key
    }

    private static func kind(of key: OpaquePointer, _ what: String) throws(Failure) -> Kind {
        if EVP_PKEY_get_base_id(key) == EVP_PKEY_X25519 { return .x25519 }
        var name = [CChar](repeating: 0, count: 64)
        guard EVP_PKEY_get_base_id(key) == EVP_PKEY_EC,
            EVP_PKEY_get_group_name(key, &name, name.count, nil) == 1
        else {
            ERR_clear_error()
            throw unsupported(what)
        }
        let bytes = name.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }
        let group = String(decoding: bytes, as: UTF8.self)
        guard group == SN_X9_62_prime256v1 || group == SN_secp384r1 else { throw unsupported(what) }
        // A curve that is spelt out would be the same key in other bytes, too. RFC 5480, 2.1.1
        var isExplicit: CInt = 1
        guard EVP_PKEY_get_int_param(key, OSSL_PKEY_PARAM_EC_DECODED_FROM_EXPLICIT_PARAMS, &isExplicit) == 1,
            isExplicit == 0
        else { throw unsupported(what) }
        return .curve(group)
    }

    /// The public key in the one form that is hashed: a compressed point is the same key in other bytes.
    private static func encoded(_ key: OpaquePointer, _ kind: Kind, _ what: String) throws(Failure) -> [UInt8] {
        if case .curve = kind {
            let format = OSSL_PKEY_PARAM_EC_POINT_CONVERSION_FORMAT
            guard EVP_PKEY_set_utf8_string_param(key, format, OSSL_PKEY_EC_POINT_CONVERSION_FORMAT_UNCOMPRESSED) == 1
            else { throw Sealing.libcryptoFailure(what) }
        }
        let size = i2d_PUBKEY(key, nil)
        guard size > 0 else { throw Sealing.libcryptoFailure(what) }
        var encoded = [UInt8](repeating: 0, count: Int(size))
        let written = encoded.withUnsafeMutableBytes { bytes in
            var next = bytes.unsigned
            return i2d_PUBKEY(key, &next)
        }
        guard written == size else { throw Sealing.libcryptoFailure(what) }
        return encoded
    }

    private static func unsupported(_ what: String) -> Failure {
        Failure(
            what,
            because: "keys of this kind cannot be used for an export, only \(Kind.names)",
            remedy: "make one with: openssl genpkey -algorithm X25519"
        )
    }
}
