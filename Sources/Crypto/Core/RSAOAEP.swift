import CLibCrypto
import Platform

/// RSA encryption with OAEP and SHA-256. RFC 8017, 7.1
public enum RSAOAEP {
    /// Encrypts a secret with a public key; returns as many bytes as the modulus has.
    ///
    /// `label` is OAEP's `L`; `what` starts the errors.
    public static func encrypt(
        _ secret: SecretBytes,
        modulus: [UInt8],
        exponent: UInt32,
        label: [UInt8],
        _ what: String
    ) throws(Failure) -> [UInt8] {
        let info = PublicKeyInfo.rsa(modulus: modulus, exponent: exponent)
        guard let key = info.withUnsafeBytes(PublicKeyInfo.key) else { throw LibCrypto.failure(what) }
        defer { EVP_PKEY_free(key) }
        let context = EVP_PKEY_CTX_new(key, nil)
        defer { EVP_PKEY_CTX_free(context) }
        guard context != nil, EVP_PKEY_encrypt_init(context) == 1,
            EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_OAEP_PADDING) == 1,
            EVP_PKEY_CTX_set_rsa_oaep_md(context, EVP_sha256()) == 1
        else { throw LibCrypto.failure(what) }
        // On success, the context takes ownership of the label. EVP_PKEY_CTX_set0_rsa_oaep_label(3)
        let copy = CRYPTO_memdup(label, label.count, nil, 0)
        guard copy != nil, EVP_PKEY_CTX_set0_rsa_oaep_label(context, copy, CInt(label.count)) == 1 else {
            CRYPTO_free(copy, nil, 0)
            throw LibCrypto.failure(what)
        }
        var encrypted = [UInt8](repeating: 0, count: modulus.count)
        var length = encrypted.count
        let good = secret.withBytes { EVP_PKEY_encrypt(context, &encrypted, &length, $0.unsigned, $0.count) }
        guard good == 1, length == encrypted.count else { throw LibCrypto.failure(what) }
        return encrypted
    }
}
