import CLibCrypto
import CryptoDigests
import CryptoLibCrypto
import CryptoPrimitives
import Platform

// The digests by which what is encrypted to a TPM's key is derived and protected.
extension DigestAlgorithm {
    /// Computes the digest of a message with a secret; the digest is secret too.
    public func secretDigest(_ message: SecretMessage) throws(Failure) -> SecretBytes {
        let digest = try SecretBytes(capacity: size)
        try digest.fill { (output) throws(Failure) in
            let context = EVP_MD_CTX_new()
            defer { EVP_MD_CTX_free(context) }
            guard context != nil, EVP_DigestInit_ex(context, algorithm, nil) == 1,
                message.forEachPart({ EVP_DigestUpdate(context, $0.baseAddress, $0.count) == 1 }),
                EVP_DigestFinal_ex(context, output.unsigned, nil) == 1
            else { throw failure }
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
            guard isDone, length == size else { throw failure }
        }
        return tag
    }
}
