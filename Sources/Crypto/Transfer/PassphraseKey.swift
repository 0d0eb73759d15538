import CLibCrypto
import Crypto
import Platform

/// Keys that are made of a passphrase.
public enum PassphraseKey {
    private static let what = "cannot derive a key from the passphrase"

    /// scrypt. RFC 7914; EVP_PBE_scrypt(3)
    ///
    /// `memoryLimit` is what libcrypto may take, in bytes: it fails if N, r and p ask for more. `size` is the key's, in
    /// bytes.
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

    /// PBKDF2 with HMAC-SHA-512. RFC 8018, 5.2; PKCS5_PBKDF2_HMAC(3)
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

    /// The passphrase's SHA-512, 64 bytes. FIPS 180-4
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
    /// As libcrypto takes a passphrase.
    fileprivate var signed: UnsafePointer<CChar>? { bindMemory(to: CChar.self).baseAddress }
}
