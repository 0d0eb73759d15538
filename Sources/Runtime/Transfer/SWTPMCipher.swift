import CLibCrypto
import Platform

/// How swtpm protects its state: AES-CBC, and HMAC-SHA-256 with the same key over ciphertext and IV.
struct SWTPMCipher {
    /// Bytes of an HMAC-SHA-256.
    static let macSize = 32
    /// Bytes of the longer of both keys.
    static let longKeySize = 32
    /// Bytes of an AES block.
    private static let blockSize = 16

    /// 16 or 32 bytes.
    let key: SecretBytes

    /// HMAC-SHA-256. HMAC(3)
    func mac(_ ciphertext: [UInt8], iv: [UInt8]) throws(Failure) -> [UInt8] {
        let input = ciphertext + iv
        var mac = [UInt8](repeating: 0, count: Self.macSize)
        let result = key.withBytes { key in
            HMAC(EVP_sha256(), key.baseAddress, CInt(key.count), input, input.count, &mac, nil)
        }
        guard result != nil else { throw Sealing.libcryptoFailure("cannot compute an HMAC") }
        return mac
    }

    /// Whether the HMAC is this key's, found out in a time that says nothing of where they differ. CRYPTO_memcmp(3)
    func isGenuine(_ mac: [UInt8], _ ciphertext: [UInt8], iv: [UInt8]) throws(Failure) -> Bool {
        let expected = try self.mac(ciphertext, iv: iv)
        return mac.count == expected.count && CRYPTO_memcmp(mac, expected, expected.count) == 0
    }

    /// Pads and encrypts.
    ///
    /// swtpm pads to a multiple of the key's size, also where that is two blocks, and gives the IV the same size, of
    /// which the first block is used.
    func encrypt(_ plaintext: SecretBytes, iv: [UInt8]) throws(Failure) -> [UInt8] {
        let padding = key.count - plaintext.count % key.count
        let padded = try SecretBytes(capacity: plaintext.count + padding)
        guard padded.append(copying: plaintext),
            padded.append(copying: [UInt8](repeating: UInt8(padding), count: padding))
        else { preconditionFailure("the capacity was computed from the contents") }
        var output = [UInt8](repeating: 0, count: padded.count)
        let good = output.withUnsafeMutableBytes { output in
            padded.withBytes { run($0, into: output, iv: iv, encrypts: true) }
        }
        guard good else { throw Sealing.libcryptoFailure("cannot encrypt") }
        return output
    }

    /// Decrypts and takes the padding off; returns nothing where the padding is wrong.
    func decrypt(_ ciphertext: [UInt8], iv: [UInt8]) throws(Failure) -> SecretBytes? {
        guard !ciphertext.isEmpty, ciphertext.count % Self.blockSize == 0 else { return nil }
        let padded = try SecretBytes(capacity: ciphertext.count)
        try padded.fill { (output) throws(Failure) in
            let good = ciphertext.withUnsafeBytes { run($0, into: output, iv: iv, encrypts: false) }
            guard good else { throw Sealing.libcryptoFailure("cannot decrypt") }
        }
        let plaintext = try SecretBytes(capacity: ciphertext.count)
        let isPadded = padded.withBytes { bytes in
            let padding = Int(bytes[bytes.count - 1])
            guard (1...key.count).contains(padding), padding <= bytes.count,
                bytes.suffix(padding).allSatisfy({ $0 == padding })
            else { return false }
            return plaintext.append(copying: UnsafeRawBufferPointer(rebasing: bytes.dropLast(padding)))
        }
        return isPadded ? plaintext : nil
    }

    /// AES-CBC over whole blocks; the output is as long as the input.
    private func run(
        _ input: UnsafeRawBufferPointer,
        into output: UnsafeMutableRawBufferPointer,
        iv: [UInt8],
        encrypts: Bool
    ) -> Bool {
        precondition(iv.count >= Self.blockSize && output.count == input.count)
        let context = EVP_CIPHER_CTX_new()
        defer { EVP_CIPHER_CTX_free(context) }
        let cipher = key.count == Self.longKeySize ? EVP_aes_256_cbc() : EVP_aes_128_cbc()
        var length: CInt = 0
        var last: CInt = 0
        return context != nil
            && key.withBytes({
                EVP_CipherInit_ex(context, cipher, nil, $0.unsigned, iv, encrypts ? 1 : 0)
            }) == 1
            && EVP_CIPHER_CTX_set_padding(context, 0) == 1
            && EVP_CipherUpdate(context, output.unsigned, &length, input.unsigned, CInt(input.count)) == 1
            && length == CInt(input.count)
            && EVP_CipherFinal_ex(context, output.unsigned.map { $0 + input.count }, &last) == 1
            && last == 0
    }
}
