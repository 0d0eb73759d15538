import CLibCrypto
import CryptoLibCrypto
import CryptoPrimitives
import Platform

/// AES-CBC, which has no authentication: the caller adds an HMAC. NIST SP 800-38A, 6.2
public enum AESCBC {
    /// The size of a block and of an initialization vector, in bytes.
    public static let blockSize = AlgorithmSize.aesBlock

    private nonisolated(unsafe) static let cbc128 = LibCryptoCipher("AES-128-CBC")
    private nonisolated(unsafe) static let cbc256 = LibCryptoCipher("AES-256-CBC")

    /// Encrypts whole blocks with a key of 16 or 32 bytes.
    ///
    /// Only the first 16 bytes of a longer vector are used.
    public static func encrypt(_ plaintext: SecretBytes, key: SecretBytes, vector: [UInt8]) throws(Failure) -> [UInt8] {
        var ciphertext = [UInt8](repeating: 0, count: plaintext.count)
        let isDone = ciphertext.withUnsafeMutableBytes { output in
            plaintext.withBytes { run($0, into: output, key, vector, encrypts: true) }
        }
        guard isDone else { throw LibCrypto.failure("cannot encrypt") }
        return ciphertext
    }

    /// Decrypts whole blocks with a key of 16 or 32 bytes.
    ///
    /// Only the first 16 bytes of a longer vector are used.
    public static func decrypt(_ ciphertext: [UInt8], key: SecretBytes, vector: [UInt8]) throws(Failure) -> SecretBytes
    {
        let plaintext = try SecretBytes(capacity: max(ciphertext.count, 1))
        let written = plaintext.append { output in
            let target = UnsafeMutableRawBufferPointer(rebasing: output.prefix(ciphertext.count))
            let isDone = ciphertext.withUnsafeBytes { run($0, into: target, key, vector, encrypts: false) }
            return isDone ? ciphertext.count : -1
        }
        guard written == ciphertext.count else { throw LibCrypto.failure("cannot decrypt") }
        return plaintext
    }

    private static func run(
        _ input: UnsafeRawBufferPointer,
        into output: UnsafeMutableRawBufferPointer,
        _ key: SecretBytes,
        _ vector: [UInt8],
        encrypts: Bool
    ) -> Bool {
        precondition((key.count == 16 || key.count == 32) && vector.count >= blockSize)
        return key.withBytes {
            key.count == 32
                ? cbc256.run(input, into: output, key: $0.unsigned, vector: vector, encrypts: encrypts)
                : cbc128.run(input, into: output, key: $0.unsigned, vector: vector, encrypts: encrypts)
        }
    }
}
