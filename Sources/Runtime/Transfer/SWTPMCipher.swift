import Crypto
import Platform

/// How swtpm protects its state: AES-CBC, and HMAC-SHA-256 with the same key over ciphertext and IV.
struct SWTPMCipher {
    /// Bytes of the longer of both keys.
    static let longKeySize = 32

    /// 16 or 32 bytes.
    let key: SecretBytes

    /// HMAC-SHA-256.
    func mac(_ ciphertext: [UInt8], iv: [UInt8]) throws(Failure) -> [UInt8] {
        try HMACSHA256.tag(key: key, ciphertext + iv)
    }

    /// Whether the HMAC is this key's.
    func isGenuine(_ mac: [UInt8], _ ciphertext: [UInt8], iv: [UInt8]) throws(Failure) -> Bool {
        HMACSHA256.areEqual(mac, try self.mac(ciphertext, iv: iv))
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
        return try AES.encryptCBC(padded, key: key, vector: iv)
    }

    /// Decrypts and takes the padding off; returns nil if the padding is wrong.
    func decrypt(_ ciphertext: [UInt8], iv: [UInt8]) throws(Failure) -> SecretBytes? {
        guard !ciphertext.isEmpty, ciphertext.count % AES.blockSize == 0 else { return nil }
        let padded = try AES.decryptCBC(ciphertext, key: key, vector: iv)
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
}
