import CLibCrypto
import CryptoLibCrypto
import CryptoPrimitives
import Platform

/// One block of a PEM file. RFC 7468
///
/// The block is parsed but never decrypted: libcrypto's functions for keys would ask for a passphrase on the terminal.
public struct PEMBlock {
    /// The largest file that is parsed, in bytes.
    public static let fileLimit = 64 << 10

    /// The label, such as `PUBLIC KEY`.
    public let label: String
    /// Whether the block is encrypted in OpenSSL's traditional form, before PKCS #8. RFC 1421, 4.6.1.1
    public let isEncrypted: Bool
    /// The decoded contents, in DER.
    public let contents: SecretBytes

    /// Returns the first block of a file, except curve parameters, which `openssl ecparam` writes before the key.
    ///
    /// Returns nil if there is no such block, or if the file has more than ``fileLimit`` bytes.
    public static func first(in file: SecretBytes) throws(Failure) -> PEMBlock? {
        guard file.count > 0, file.count <= fileLimit else { return nil }
        return try file.withBytes { (bytes) throws(Failure) in
            let input = BIO_new_mem_buf(bytes.baseAddress, CInt(bytes.count))
            defer {
                BIO_free(input)
                ERR_clear_error()
            }
            while let block = try next(in: input) {
                if block.label != "EC PARAMETERS" { return block }
            }
            return nil
        }
    }

    private static func next(in input: OpaquePointer?) throws(Failure) -> PEMBlock? {
        var name: UnsafeMutablePointer<CChar>?
        var header: UnsafeMutablePointer<CChar>?
        var data: UnsafeMutablePointer<UInt8>?
        var length = 0
        // PEM_FLAG_SECURE: libcrypto wipes its buffers.
        let flags = CUnsignedInt(PEM_FLAG_SECURE | PEM_FLAG_EAY_COMPATIBLE)
        guard PEM_read_bio_ex(input, &name, &header, &data, &length, flags) == 1 else { return nil }
        defer {
            CRYPTO_secure_free(name, #file, 0)
            CRYPTO_secure_free(header, #file, 0)
            CRYPTO_secure_clear_free(data, length, #file, 0)
        }
        let contents = try SecretBytes(capacity: max(length, 1))
        guard let name, let data, length > 0,
            contents.append(copying: UnsafeRawBufferPointer(start: data, count: length))
        else { return nil }
        return PEMBlock(
            label: String(cString: name),
            isEncrypted: header.map { String(cString: $0).contains("ENCRYPTED") } ?? false,
            contents: contents
        )
    }
}
