import CLibCrypto
import Platform

/// AES in modes without authentication; the caller adds an HMAC.
public enum AES {
    /// The size of a block and of an initialization vector, in bytes.
    public static let blockSize = 16

    private nonisolated(unsafe) static let cfb128 = EVP_CIPHER_fetch(nil, "AES-128-CFB", nil)
    private nonisolated(unsafe) static let cbc128 = EVP_CIPHER_fetch(nil, "AES-128-CBC", nil)
    private nonisolated(unsafe) static let cbc256 = EVP_CIPHER_fetch(nil, "AES-256-CBC", nil)

    /// Encrypts with AES-128-CFB. SP 800-38A, 6.3
    ///
    /// `keyAndVector` is the key of 16 bytes, followed by the initialization vector of 16 bytes.
    public static func encryptCFB(_ plaintext: SecretBytes, keyAndVector: SecretBytes) throws(Failure) -> [UInt8] {
        try encrypt(plaintext) { input, output in
            runCFB(input, into: output, keyAndVector, encrypts: true)
        }
    }

    /// Decrypts with AES-128-CFB. SP 800-38A, 6.3
    ///
    /// `keyAndVector` is the key of 16 bytes, followed by the initialization vector of 16 bytes.
    public static func decryptCFB(_ ciphertext: [UInt8], keyAndVector: SecretBytes) throws(Failure) -> SecretBytes {
        try decrypt(ciphertext) { input, output in
            runCFB(input, into: output, keyAndVector, encrypts: false)
        }
    }

    /// Encrypts whole blocks with AES-CBC and a key of 16 or 32 bytes. SP 800-38A, 6.2
    ///
    /// Only the first 16 bytes of a longer vector are used.
    public static func encryptCBC(
        _ plaintext: SecretBytes,
        key: SecretBytes,
        vector: [UInt8]
    ) throws(Failure) -> [UInt8] {
        try encrypt(plaintext) { input, output in
            runCBC(input, into: output, key, vector, encrypts: true)
        }
    }

    /// Decrypts whole blocks with AES-CBC and a key of 16 or 32 bytes. SP 800-38A, 6.2
    ///
    /// Only the first 16 bytes of a longer vector are used.
    public static func decryptCBC(
        _ ciphertext: [UInt8],
        key: SecretBytes,
        vector: [UInt8]
    ) throws(Failure) -> SecretBytes {
        try decrypt(ciphertext) { input, output in
            runCBC(input, into: output, key, vector, encrypts: false)
        }
    }

    private typealias Run = (UnsafeRawBufferPointer, UnsafeMutableRawBufferPointer) -> Bool

    private static func encrypt(_ plaintext: SecretBytes, _ run: Run) throws(Failure) -> [UInt8] {
        var ciphertext = [UInt8](repeating: 0, count: plaintext.count)
        let isDone = ciphertext.withUnsafeMutableBytes { output in plaintext.withBytes { run($0, output) } }
        guard isDone else { throw LibCrypto.failure("cannot encrypt") }
        return ciphertext
    }

    private static func decrypt(_ ciphertext: [UInt8], _ run: Run) throws(Failure) -> SecretBytes {
        let plaintext = try SecretBytes(capacity: max(ciphertext.count, 1))
        let written = plaintext.append { output in
            let target = UnsafeMutableRawBufferPointer(rebasing: output.prefix(ciphertext.count))
            return ciphertext.withUnsafeBytes { run($0, target) } ? ciphertext.count : -1
        }
        guard written == ciphertext.count else { throw LibCrypto.failure("cannot decrypt") }
        return plaintext
    }

    private static func runCFB(
        _ input: UnsafeRawBufferPointer,
        into output: UnsafeMutableRawBufferPointer,
        _ keyAndVector: SecretBytes,
        encrypts: Bool
    ) -> Bool {
        precondition(keyAndVector.count == 2 * blockSize)
        return keyAndVector.withBytes { bytes in
            let key = bytes.unsigned
            return run(cfb128, input, into: output, key: key, vector: key.map { $0 + blockSize }, encrypts: encrypts)
        }
    }

    private static func runCBC(
        _ input: UnsafeRawBufferPointer,
        into output: UnsafeMutableRawBufferPointer,
        _ key: SecretBytes,
        _ vector: [UInt8],
        encrypts: Bool
    ) -> Bool {
        precondition((key.count == 16 || key.count == 32) && vector.count >= blockSize)
        let cipher = key.count == 32 ? cbc256 : cbc128
        return key.withBytes { run(cipher, input, into: output, key: $0.unsigned, vector: vector, encrypts: encrypts) }
    }

    /// Runs a cipher without padding; returns false if libcrypto fails. EVP_CipherInit_ex(3)
    ///
    /// The output must have the size of the input.
    private static func run(
        _ cipher: OpaquePointer?,
        _ input: UnsafeRawBufferPointer,
        into output: UnsafeMutableRawBufferPointer,
        key: UnsafePointer<UInt8>?,
        vector: UnsafePointer<UInt8>?,
        encrypts: Bool
    ) -> Bool {
        precondition(output.count == input.count)
        let context = EVP_CIPHER_CTX_new()
        defer { EVP_CIPHER_CTX_free(context) }
        var length: CInt = 0
        var last: CInt = 0
        return context != nil
            && EVP_CipherInit_ex(context, cipher, nil, key, vector, encrypts ? 1 : 0) == 1
            && EVP_CIPHER_CTX_set_padding(context, 0) == 1
            && EVP_CipherUpdate(context, output.unsigned, &length, input.unsigned, CInt(input.count)) == 1
            && length == CInt(input.count)
            && EVP_CipherFinal_ex(context, output.unsigned.map { $0 + input.count }, &last) == 1
            && last == 0
    }
}
