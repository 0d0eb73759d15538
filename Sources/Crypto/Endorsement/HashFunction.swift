import CLibCrypto
import CryptoLibCrypto
import CryptoPrimitives
import Platform

/// A digest by which a TPM's key has its name, and by which what is encrypted to the key is derived and protected.
public enum HashFunction: Sendable {
    /// SHA-256. FIPS 180-4
    case sha256
    /// SHA-384. FIPS 180-4
    case sha384

    /// The size of a digest, in bytes.
    public var size: Int { self == .sha256 ? 32 : 48 }

    private var what: String { self == .sha256 ? "cannot compute SHA-256" : "cannot compute SHA-384" }

    /// libcrypto's own description, which lives as long as the process. EVP_sha256(3)
    var algorithm: OpaquePointer? { self == .sha256 ? EVP_sha256() : EVP_sha384() }

    /// Computes the digest of a message.
    public func digest(_ bytes: [UInt8]) throws(Failure) -> [UInt8] {
        var digest = [UInt8](repeating: 0, count: size)
        guard EVP_Digest(bytes, bytes.count, &digest, nil, algorithm, nil) == 1 else { throw LibCrypto.failure(what) }
        return digest
    }

    /// Computes the digest of a message with a secret; the digest is secret too.
    public func secretDigest(_ message: SecretMessage) throws(Failure) -> SecretBytes {
        let digest = try SecretBytes(capacity: size)
        try digest.fill { (output) throws(Failure) in
            let context = EVP_MD_CTX_new()
            defer { EVP_MD_CTX_free(context) }
            guard context != nil, EVP_DigestInit_ex(context, algorithm, nil) == 1,
                message.forEachPart({ EVP_DigestUpdate(context, $0.baseAddress, $0.count) == 1 }),
                EVP_DigestFinal_ex(context, output.unsigned, nil) == 1
            else { throw LibCrypto.failure(what) }
        }
        return digest
    }

    /// Computes the HMAC of a message, which is secret. RFC 2104
    public func secretTag(key: SecretBytes, _ bytes: [UInt8]) throws(Failure) -> SecretBytes {
        let tag = try SecretBytes(capacity: size)
        try tag.fill { (output) throws(Failure) in
            var length: CUnsignedInt = 0
            let isDone = key.withBytes { key in
                HMAC(algorithm, key.baseAddress, CInt(key.count), bytes, bytes.count, output.unsigned, &length) != nil
            }
            guard isDone, length == size else { throw LibCrypto.failure(what) }
        }
        return tag
    }
}
