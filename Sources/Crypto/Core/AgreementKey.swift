import CLibCrypto
import Platform

/// A key for Diffie-Hellman: X25519 (RFC 7748) or ECDH on P-256 or P-384 (NIST SP 800-56A).
public final class AgreementKey {
    /// The kind of a key, which must be the same for both sides.
    public enum Kind: Equatable {
        case x25519
        case curve(String)

        /// The supported kinds, for errors.
        public static let names = "X25519, P-256 and P-384"
    }

    /// A point of P-256: two coordinates of ``AgreementKey/p256CoordinateSize`` bytes each.
    public struct Point: Equatable {
        /// The x coordinate, big-endian.
        public let x: [UInt8]
        /// The y coordinate, big-endian.
        public let y: [UInt8]

        /// Creates a point without checking that it is on the curve.
        public init(x: [UInt8], y: [UInt8]) {
            self.x = x
            self.y = y
        }
    }

    /// The result of parsing a key.
    public enum Parsed {
        case key(AgreementKey)
        /// The bytes are not a key.
        case damaged
        /// The bytes are a key of a kind that is not supported.
        case unsupported
    }

    /// The size of a coordinate of P-256, in bytes.
    public static let p256CoordinateSize = 32

    /// The public key as a SubjectPublicKeyInfo in DER, with an uncompressed point. RFC 5280, 4.1.2.7
    public let publicKey: [UInt8]
    /// The kind of the key.
    public let kind: Kind
    private let key: OpaquePointer

    /// Takes ownership of libcrypto's key, even if it throws.
    private init(adopting key: OpaquePointer, _ kind: Kind, _ what: String) throws(Failure) {
        do {
            self.publicKey = try Self.encoded(key, kind, what)
            self.kind = kind
            self.key = key
        } catch {
            EVP_PKEY_free(key)
            throw error
        }
    }

    deinit { EVP_PKEY_free(key) }

    /// Parses a public key, a SubjectPublicKeyInfo in DER; bytes after it make it damaged.
    public static func parse(publicKey bytes: UnsafeRawBufferPointer, _ what: String) throws(Failure) -> Parsed {
        try parsed(PublicKeyInfo.key(bytes), what)
    }

    /// Parses a private key in DER, in PKCS #8 or the traditional form of its kind. d2i_AutoPrivateKey(3)
    public static func parse(privateKey bytes: UnsafeRawBufferPointer, _ what: String) throws(Failure) -> Parsed {
        var next = bytes.unsigned
        return try parsed(d2i_AutoPrivateKey(nil, &next, bytes.count), what)
    }

    private static func parsed(_ key: OpaquePointer?, _ what: String) throws(Failure) -> Parsed {
        ERR_clear_error()
        guard let key else { return .damaged }
        guard let kind = kind(of: key) else {
            ERR_clear_error()
            EVP_PKEY_free(key)
            return .unsupported
        }
        return .key(try AgreementKey(adopting: key, kind, what))
    }

    /// Creates a public key from a point of P-256; throws if the point is not on the curve.
    public static func p256(_ point: Point, _ what: String) throws(Failure) -> AgreementKey {
        guard let key = PublicKeyInfo.p256(point).withUnsafeBytes(PublicKeyInfo.key) else {
            throw LibCrypto.failure(what)
        }
        return try AgreementKey(adopting: key, .curve(SN_X9_62_prime256v1), what)
    }

    /// The public point of a P-256 key; nil for other kinds.
    public var point: Point? { PublicKeyInfo.point(of: publicKey) }

    /// Generates a new key of the same kind. EVP_PKEY_keygen(3)
    public func ephemeral(_ what: String) throws(Failure) -> AgreementKey {
        let context: OpaquePointer?
        switch kind {
        case .x25519: context = EVP_PKEY_CTX_new_id(EVP_PKEY_X25519, nil)
        case .curve: context = EVP_PKEY_CTX_new_id(EVP_PKEY_EC, nil)
        }
        defer { EVP_PKEY_CTX_free(context) }
        guard RAND_status() == 1, context != nil, EVP_PKEY_keygen_init(context) == 1 else {
            throw LibCrypto.failure(what)
        }
        if case .curve(let name) = kind, EVP_PKEY_CTX_set_group_name(context, name) != 1 {
            throw LibCrypto.failure(what)
        }
        var key: OpaquePointer?
        guard EVP_PKEY_keygen(context, &key) == 1, let key else { throw LibCrypto.failure(what) }
        return try AgreementKey(adopting: key, kind, what)
    }

    /// Computes the shared secret with a peer: 32 or 48 bytes. EVP_PKEY_derive(3)
    ///
    /// Throws if the kinds differ, and if an X25519 key makes the secret zero.
    public func agree(with peer: AgreementKey, _ what: String) throws(Failure) -> SecretBytes {
        let context = EVP_PKEY_CTX_new_from_pkey(nil, key, nil)
        defer { EVP_PKEY_CTX_free(context) }
        var size = 0
        guard context != nil, EVP_PKEY_derive_init(context) == 1, EVP_PKEY_derive_set_peer(context, peer.key) == 1,
            EVP_PKEY_derive(context, nil, &size) == 1, size > 0
        else { throw LibCrypto.failure(what) }
        let secret = try SecretBytes(capacity: size)
        try secret.fill { (output) throws(Failure) in
            var length = output.count
            guard EVP_PKEY_derive(context, output.unsigned, &length) == 1, length == output.count else {
                throw LibCrypto.failure(what)
            }
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
    private static func encoded(_ key: OpaquePointer, _ kind: Kind, _ what: String) throws(Failure) -> [UInt8] {
        if case .curve = kind {
            let format = OSSL_PKEY_PARAM_EC_POINT_CONVERSION_FORMAT
            guard EVP_PKEY_set_utf8_string_param(key, format, OSSL_PKEY_EC_POINT_CONVERSION_FORMAT_UNCOMPRESSED) == 1
            else { throw LibCrypto.failure(what) }
        }
        let size = i2d_PUBKEY(key, nil)
        guard size > 0 else { throw LibCrypto.failure(what) }
        var encoded = [UInt8](repeating: 0, count: Int(size))
        let written = encoded.withUnsafeMutableBytes { bytes in
            var next = bytes.unsigned
            return i2d_PUBKEY(key, &next)
        }
        guard written == size else { throw LibCrypto.failure(what) }
        return encoded
    }
}
