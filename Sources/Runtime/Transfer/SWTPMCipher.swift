import Crypto
import CryptoTransfer
import Platform

/// The encryption of swtpm's state: AES-CBC, and HMAC-SHA-256 with the same key over the ciphertext and the IV.
struct SWTPMCipher {
    /// The size of the longer key, in bytes.
    static let longKeySize = 32

    /// The key, 16 or 32 bytes.
    let key: SecretBytes

    /// Computes the HMAC-SHA-256 of the ciphertext and then the IV.
    func mac(_ ciphertext: [UInt8], iv: [UInt8]) throws(Failure) -> [UInt8] {
        try HMACSHA256.tag(key: key, ciphertext + iv)
    }

    /// Returns whether an HMAC was made with this key.
    func isGenuine(_ mac: [UInt8], _ ciphertext: [UInt8], iv: [UInt8]) throws(Failure) -> Bool {
        HMACSHA256.areEqual(mac, try self.mac(ciphertext, iv: iv))
    }

    /// Pads and encrypts a plaintext; the IV has at least 16 bytes.
    ///
    /// swtpm pads to a multiple of the key's size, even if that is two blocks. Its IV has the size of the key, and only
    /// the first block of it is used.
    func encrypt(_ plaintext: SecretBytes, iv: [UInt8]) throws(Failure) -> [UInt8] {
        let padding = key.count - plaintext.count % key.count
        let padded = try SecretBytes(capacity: plaintext.count + padding)
        guard padded.append(copying: plaintext),
            padded.append(copying: [UInt8](repeating: UInt8(padding), count: padding))
        else { preconditionFailure("the capacity was computed from the contents") }
        return try AESCBC.encrypt(padded, key: key, vector: iv)
    }

    /// Decrypts a ciphertext and removes the padding; returns nil if the size or the padding is wrong.
    func decrypt(_ ciphertext: [UInt8], iv: [UInt8]) throws(Failure) -> SecretBytes? {
        guard !ciphertext.isEmpty, ciphertext.count % AESCBC.blockSize == 0 else { return nil }
        let padded = try AESCBC.decrypt(ciphertext, key: key, vector: iv)
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
