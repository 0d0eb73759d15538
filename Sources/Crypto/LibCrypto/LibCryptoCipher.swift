import CLibCrypto
import CryptoPrimitives
import Platform

/// Ciphers that libcrypto runs without padding and without authentication.
package struct LibCryptoCipher: ~Copyable {
    private let cipher: OpaquePointer?

    /// Fetches a cipher by its name; if there is none, each use fails. EVP_CIPHER_fetch(3)
    package init(_ name: String) {
        cipher = EVP_CIPHER_fetch(nil, name, nil)
    }

    deinit { EVP_CIPHER_free(cipher) }

    /// Runs the cipher; returns false if libcrypto fails. EVP_CipherInit_ex(3)
    ///
    /// The output must have the size of the input. Key and vector must be as long as the cipher takes them.
    package func run(
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
