import CLibCrypto
import CryptoLibCrypto
import Platform

/// A key of exports for Diffie-Hellman: X25519 (RFC 7748) or ECDH on P-256 or P-384 (NIST SP 800-56A).
public final class AgreementKey {
    /// The kind of a key, which must be the same for both sides.
    public enum Kind: Equatable {
        case x25519
        case curve(String)

        /// The supported kinds, for errors.
        public static let names = "X25519, P-256 and P-384"
    }

    /// The result of parsing a key.
    public enum Parsed {
        case key(AgreementKey)
        /// The bytes are not a key.
        case damaged
        /// The bytes are a key of a kind that is not supported.
        case unsupported
    }

    /// The public key as a SubjectPublicKeyInfo in DER, with an uncompressed point. RFC 5280, 4.1.2.7
    public let publicKey: [UInt8]
    /// The kind of the key.
    public let kind: Kind
    private let key: LibCryptoKey

    private init(_ key: LibCryptoKey, _ kind: Kind, _ what: String) throws(Failure) {
        self.publicKey = try Self.encoded(key, kind, what)
        self.kind = kind
        self.key = key
    }

    /// Parses a public key, a SubjectPublicKeyInfo in DER; bytes after it make it damaged.
    public static func parse(publicKey bytes: UnsafeRawBufferPointer, _ what: String) throws(Failure) -> Parsed {
        try parsed(LibCryptoKey.decode(publicKey: bytes), what)
    }

    /// Parses a private key in DER, in PKCS #8 or the traditional form of its kind. d2i_AutoPrivateKey(3)
    public static func parse(privateKey bytes: UnsafeRawBufferPointer, _ what: String) throws(Failure) -> Parsed {
        try parsed(LibCryptoKey.decode(privateKey: bytes), what)
    }

    private static func parsed(_ key: LibCryptoKey?, _ what: String) throws(Failure) -> Parsed {
        ERR_clear_error()
        guard let key else { return .damaged }
        guard let kind = key.withPointer(kind(of:)) else {
            ERR_clear_error()
            return .unsupported
        }
        return .key(try AgreementKey(key, kind, what))
    }

    /// Generates a new key of the same kind. EVP_PKEY_keygen(3)
    public func ephemeral(_ what: String) throws(Failure) -> AgreementKey {
        let key =
            switch kind {
            case .x25519: LibCryptoKey.generate(EVP_PKEY_X25519, curve: nil)
            case .curve(let name): LibCryptoKey.generate(EVP_PKEY_EC, curve: name)
            }
        guard let key else { throw LibCrypto.failure(what) }
        return try AgreementKey(key, kind, what)
    }

    /// Computes the shared secret with a peer: 32 or 48 bytes. EVP_PKEY_derive(3)
    ///
    /// Throws if the kinds differ, and if an X25519 key makes the secret zero.
    public func agree(with peer: AgreementKey, _ what: String) throws(Failure) -> SecretBytes {
        guard let size = key.agreedSize(with: peer.key) else { throw LibCrypto.failure(what) }
        let secret = try SecretBytes(capacity: size)
        try secret.fill { (output) throws(Failure) in
            guard key.agree(with: peer.key, into: output) else { throw LibCrypto.failure(what) }
        }
        return secret
    }

    /// Returns the kind of libcrypto's key; nil if it is not supported.
    private static func kind(of key: OpaquePointer) -> Kind? {
        if EVP_PKEY_get_base_id(key) == EVP_PKEY_X25519 { return .x25519 }
        var name = [CChar](repeating: 0, count: 64)
        guard EVP_PKEY_get_base_id(key) == EVP_PKEY_EC,
            EVP_PKEY_get_group_name(key, &name, name.count, nil) == 1
        else { return nil }
        let bytes = name.prefix { $0 != 0 }.map { UInt8(truncatingIfNeeded: $0) }
        let group = String(decoding: bytes, as: UTF8.self)
        guard group == SN_X9_62_prime256v1 || group == SN_secp384r1 else { return nil }
        // Explicit curve parameters would encode the same key in other bytes. RFC 5480, 2.1.1
        var isExplicit: CInt = 1
        guard EVP_PKEY_get_int_param(key, OSSL_PKEY_PARAM_EC_DECODED_FROM_EXPLICIT_PARAMS, &isExplicit) == 1,
            isExplicit == 0
        else { return nil }
        return .curve(group)
    }

    /// Encodes the public key with an uncompressed point, since a compressed one has another hash.
    private static func encoded(_ key: LibCryptoKey, _ kind: Kind, _ what: String) throws(Failure) -> [UInt8] {
        if case .curve = kind {
            let (name, value) = (
                OSSL_PKEY_PARAM_EC_POINT_CONVERSION_FORMAT, OSSL_PKEY_EC_POINT_CONVERSION_FORMAT_UNCOMPRESSED
            )
            guard key.withPointer({ EVP_PKEY_set_utf8_string_param($0, name, value) }) == 1 else {
                throw LibCrypto.failure(what)
            }
        }
        guard let encoded = key.encodePublicKey() else { throw LibCrypto.failure(what) }
        return encoded
    }
}
