import CLibCrypto
import CryptoLibCrypto
import CryptoPrimitives
import Platform

/// The private key of an authority: ECDSA on P-256 or P-384, or RSA with PKCS #1 v1.5, which all verifiers know.
public final class SigningKey {
    let key: LibCryptoKey
    /// The digest that goes with the key.
    let digest: OpaquePointer?

    private static let what = "cannot use the authority's key"
    /// The largest key in DER, in bytes.
    public static let sizeLimit = 4096

    private init(_ key: LibCryptoKey) throws(Failure) {
        let bits = key.withPointer { EVP_PKEY_get_bits($0) }
        switch key.withPointer({ EVP_PKEY_get_base_id($0) }) {
        case EVP_PKEY_EC where bits == 256: digest = EVP_sha256()
        case EVP_PKEY_EC where bits == 384: digest = EVP_sha384()
        case EVP_PKEY_RSA where bits >= 2048: digest = EVP_sha256()
        default:
            throw Failure(Self.what, because: "it is neither ECDSA on P-256 or P-384 nor RSA with at least 2048 bits")
        }
        self.key = key
    }

    /// Makes a new key on P-384.
    public static func generate() throws(Failure) -> SigningKey {
        guard let key = LibCryptoKey.generate(EVP_PKEY_EC, curve: SN_secp384r1) else { throw LibCrypto.failure(what) }
        return try SigningKey(key)
    }

    /// Parses a private key in DER, in PKCS #8 or the traditional form of its kind.
    public convenience init(decoding bytes: SecretBytes) throws(Failure) {
        guard let key = bytes.withBytes({ LibCryptoKey.decode(privateKey: $0) }) else {
            throw LibCrypto.failure(Self.what)
        }
        try self.init(key)
    }

    /// The private key in DER, in the traditional form of its kind. i2d_PrivateKey(3)
    public var encoded: SecretBytes {
        get throws(Failure) {
            let bytes = try SecretBytes(capacity: Self.sizeLimit)
            let written = bytes.append { memory in
                let size = key.withPointer { i2d_PrivateKey($0, nil) }
                guard size > 0, Int(size) <= memory.count else { return -1 }
                var next = memory.unsigned
                return Int(key.withPointer { i2d_PrivateKey($0, &next) })
            }
            guard written > 0 else { throw LibCrypto.failure(Self.what) }
            return bytes
        }
    }

    /// The public key, a SubjectPublicKeyInfo in DER.
    public var publicKey: [UInt8] {
        get throws(Failure) {
            guard let encoded = key.encodePublicKey() else { throw LibCrypto.failure(Self.what) }
            return encoded
        }
    }
}
