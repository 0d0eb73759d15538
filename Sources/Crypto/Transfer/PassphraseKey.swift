import CLibCrypto
import CryptoLibCrypto
import CryptoPrimitives
import Platform

/// Functions that derive keys from a passphrase.
public enum PassphraseKey {
    private static let what = "cannot derive a key from the passphrase"

    /// Derives a key of `size` bytes with scrypt. RFC 7914; EVP_PBE_scrypt(3)
    ///
    /// Throws if N, r and p need more than `memoryLimit` bytes.
    public static func scrypt(
        _ passphrase: SecretBytes,
        salt: [UInt8],
        n: UInt64,
        r: UInt64,
        p: UInt64,
        memoryLimit: UInt64,
        size: Int
    ) throws(Failure) -> SecretBytes {
        try derive(passphrase, size: size) { input, output in
            EVP_PBE_scrypt(
                input.signed,
                input.count,
                salt,
                salt.count,
                n,
                r,
                p,
                memoryLimit,
                output.unsigned,
                output.count
            )
        }
    }

    /// Derives a key of `size` bytes with PBKDF2 and HMAC-SHA-512. RFC 8018, 5.2; PKCS5_PBKDF2_HMAC(3)
    public static func pbkdf2SHA512(
        _ passphrase: SecretBytes,
        salt: [UInt8],
        iterations: CInt,
        size: Int
    ) throws(Failure) -> SecretBytes {
        try derive(passphrase, size: size) { input, output in
            PKCS5_PBKDF2_HMAC(
                input.signed,
                CInt(input.count),
                salt,
                CInt(salt.count),
                iterations,
                EVP_sha512(),
                CInt(output.count),
                output.unsigned
            )
        }
    }

    /// Computes the SHA-512 of a passphrase, 64 bytes. FIPS 180-4
    public static func sha512(_ passphrase: SecretBytes) throws(Failure) -> SecretBytes {
        try derive(passphrase, size: 64) { input, output in
            EVP_Digest(input.baseAddress, input.count, output.unsigned, nil, EVP_sha512(), nil)
        }
    }

    private static func derive(
        _ passphrase: SecretBytes,
        size: Int,
        _ body: (UnsafeRawBufferPointer, UnsafeMutableRawBufferPointer) -> CInt
    ) throws(Failure) -> SecretBytes {
        let key = try SecretBytes(capacity: size)
        try key.fill { (output) throws(Failure) in
            guard passphrase.withBytes({ body($0, output) }) == 1 else { throw LibCrypto.failure(what) }
        }
        return key
    }
}

extension UnsafeRawBufferPointer {
    /// The start of the buffer, typed as libcrypto expects a passphrase.
    fileprivate var signed: UnsafePointer<CChar>? { bindMemory(to: CChar.self).baseAddress }
}
