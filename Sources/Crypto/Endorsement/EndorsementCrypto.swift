import CLibCrypto
import CryptoDigests
import CryptoLibCrypto
import CryptoPrimitives
import CryptoTransfer
import Platform

/// What encrypts to an endorsement key. TPM 2.0 Library, Part 1, B.10.4 and C.6
public enum EndorsementTransport {
    /// Encrypts a secret with RSA and OAEP; returns as many bytes as the modulus has. RFC 8017, 7.1
    ///
    /// `publicKey` is a SubjectPublicKeyInfo in DER, `label` OAEP's `L`. EVP_PKEY_encrypt(3)
    public static func encrypt(
        _ secret: SecretBytes,
        to publicKey: [UInt8],
        by hash: DigestAlgorithm,
        label: [UInt8],
        _ what: String
    ) throws(Failure) -> [UInt8] {
        guard let key = publicKey.withUnsafeBytes(LibCryptoKey.decode(publicKey:)) else {
            throw LibCrypto.failure(what)
        }
        // The context keeps the key.
        let context = key.withPointer { EVP_PKEY_CTX_new($0, nil) }
        defer { EVP_PKEY_CTX_free(context) }
        guard context != nil, EVP_PKEY_encrypt_init(context) == 1,
            EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_OAEP_PADDING) == 1,
            EVP_PKEY_CTX_set_rsa_oaep_md(context, hash.algorithm) == 1
        else { throw LibCrypto.failure(what) }
        // On success, the context takes ownership of the label. EVP_PKEY_CTX_set0_rsa_oaep_label(3)
        let copy = CRYPTO_memdup(label, label.count, nil, 0)
        guard copy != nil, EVP_PKEY_CTX_set0_rsa_oaep_label(context, copy, CInt(label.count)) == 1 else {
            CRYPTO_free(copy, nil, 0)
            throw LibCrypto.failure(what)
        }
        let size = Int(key.withPointer { EVP_PKEY_get_size($0) })
        var encrypted = [UInt8](repeating: 0, count: max(size, 1))
        var length = encrypted.count
        guard secret.withBytes({ EVP_PKEY_encrypt(context, &encrypted, &length, $0.unsigned, $0.count) }) == 1,
            length == size
        else { throw LibCrypto.failure(what) }
        return encrypted
    }

    /// Makes a key for one agreement with an ECC key; returns its coordinates and the secret that both share.
    ///
    /// Throws if the peer's point is not on its curve. NIST SP 800-56A
    public static func agree(
        with publicKey: [UInt8],
        coordinateSize size: Int,
        _ what: String
    ) throws(Failure) -> (x: [UInt8], y: [UInt8], secret: SecretBytes) {
        let parsed = publicKey.withUnsafeBytes { bytes in
            Result { () throws(Failure) in try AgreementKey.parse(publicKey: bytes, what) }
        }
        guard case .key(let peer) = try parsed.get() else {
            throw Failure(what, because: "the point is not on the curve")
        }
        let own = try peer.ephemeral(what)
        // The coordinates are what the encoding ends with.
        let point = own.publicKey.suffix(2 * size)
        return (Array(point.prefix(size)), Array(point.suffix(size)), try own.agree(with: peer, what))
    }
}

/// AES-CFB with a vector of zeros, which has no authentication: the caller adds an HMAC. NIST SP 800-38A, 6.3
public enum ZeroVectorCFB {
    private nonisolated(unsafe) static let aes128 = LibCryptoCipher("AES-128-CFB")
    private nonisolated(unsafe) static let aes256 = LibCryptoCipher("AES-256-CFB")

    /// Encrypts with a key of 16 or 32 bytes, the first of a secret. TPM 2.0 Library, Part 1, 24.4
    public static func encrypt(
        _ plaintext: SecretBytes,
        key: SecretBytes,
        keySize: Int,
        _ what: String
    ) throws(Failure) -> [UInt8] {
        precondition((keySize == 16 || keySize == 32) && key.count >= keySize)
        let vector = [UInt8](repeating: 0, count: AlgorithmSize.aesBlock)
        var encrypted = [UInt8](repeating: 0, count: plaintext.count)
        let isDone = encrypted.withUnsafeMutableBytes { output in
            plaintext.withBytes { input in
                key.withBytes { key in
                    vector.withUnsafeBufferPointer { vector in
                        keySize == 16
                            ? aes128.run(
                                input,
                                into: output,
                                key: key.unsigned,
                                vector: vector.baseAddress,
                                encrypts: true
                            )
                            : aes256.run(
                                input,
                                into: output,
                                key: key.unsigned,
                                vector: vector.baseAddress,
                                encrypts: true
                            )
                    }
                }
            }
        }
        guard isDone else { throw LibCrypto.failure(what) }
        return encrypted
    }
}

/// Signatures that a TPM makes. TPM 2.0 Library, Part 2, 11.3
public enum TPMSignature {
    /// Returns whether an ECDSA signature is that of a key, a SubjectPublicKeyInfo in DER. EVP_DigestVerify(3)
    public static func isECDSA(
        _ r: [UInt8],
        _ s: [UInt8],
        of message: [UInt8],
        by publicKey: [UInt8],
        with hash: DigestAlgorithm
    ) -> Bool {
        let signature = DER.element(DER.sequence, DER.unsigned(r) + DER.unsigned(s))
        return isSignature(signature, of: message, by: publicKey, with: hash)
    }

    /// Returns whether an RSASSA-PKCS1-v1_5 signature is that of a key, a SubjectPublicKeyInfo in DER. RFC 8017, 8.2
    public static func isRSASSA(
        _ signature: [UInt8],
        of message: [UInt8],
        by publicKey: [UInt8],
        with hash: DigestAlgorithm
    ) -> Bool {
        // PKCS #1 v1.5 is what libcrypto takes for an RSA key without being told.
        isSignature(signature, of: message, by: publicKey, with: hash)
    }

    private static func isSignature(
        _ signature: [UInt8],
        of message: [UInt8],
        by publicKey: [UInt8],
        with hash: DigestAlgorithm
    ) -> Bool {
        defer { ERR_clear_error() }
        guard let key = publicKey.withUnsafeBytes(LibCryptoKey.decode(publicKey:)) else { return false }
        let context = EVP_MD_CTX_new()
        defer { EVP_MD_CTX_free(context) }
        return context != nil
            && key.withPointer { EVP_DigestVerifyInit(context, nil, hash.algorithm, nil, $0) } == 1
            && EVP_DigestVerify(context, signature, signature.count, message, message.count) == 1
    }
}
