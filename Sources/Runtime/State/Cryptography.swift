import CLibCrypto
import Platform

/// The primitives of the state file and the index, from libcrypto.
package enum Cryptography {
    /// Bytes of an AES-256 key.
    static let keySize = 32
    /// Bytes of a GCM nonce. NIST SP 800-38D, 5.2.1.1
    static let nonceSize = 12
    /// Bytes of a GCM tag.
    static let tagSize = 16

    // Found once: EVP_aes_256_gcm() and EVP_sha256() have libcrypto look for the algorithm in its providers at each use,
    // which takes longer than the use (crypto(7), ALGORITHM FETCHING). A null one makes its first use fail.
    private nonisolated(unsafe) static let aes256GCM = EVP_CIPHER_fetch(nil, "AES-256-GCM", nil)
    private nonisolated(unsafe) static let hash = EVP_MD_fetch(nil, "SHA2-256", nil)

    /// Fills a buffer with random bytes. RAND_priv_bytes(3)
    static func fillRandom(_ buffer: UnsafeMutableRawBufferPointer) throws(Failure) {
        let bytes = buffer.bindMemory(to: UInt8.self)
        guard RAND_status() == 1, RAND_priv_bytes(bytes.baseAddress, CInt(bytes.count)) == 1 else {
            throw libcryptoFailure("cannot get random bytes")
        }
    }

    /// Random bytes that are no secret.
    static func random(count: Int) throws(Failure) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: count)
        guard RAND_status() == 1, RAND_bytes(&bytes, CInt(count)) == 1 else {
            throw libcryptoFailure("cannot get random bytes")
        }
        return bytes
    }

    /// SHA-256. FIPS 180-4
    package static func sha256(_ parts: [UInt8]...) throws(Failure) -> [UInt8] {
        var digest = [UInt8](repeating: 0, count: 32)
        let context = EVP_MD_CTX_new()
        defer { EVP_MD_CTX_free(context) }
        var good = context != nil && EVP_DigestInit_ex(context, hash, nil) == 1
        for part in parts where good { good = EVP_DigestUpdate(context, part, part.count) == 1 }
        guard good, EVP_DigestFinal_ex(context, &digest, nil) == 1 else {
            throw libcryptoFailure("cannot compute SHA-256")
        }
        return digest
    }

    /// A key of ``keySize`` bytes from another one. RFC 5869 with SHA-256; EVP_PKEY_CTX_set_hkdf_md(3)
    static func hkdf(key: SecretBytes, salt: [UInt8], info: [UInt8]) throws(Failure) -> SecretBytes {
        let what = "cannot derive a key"
        let context = EVP_PKEY_CTX_new_id(EVP_PKEY_HKDF, nil)
        defer { EVP_PKEY_CTX_free(context) }
        guard context != nil, EVP_PKEY_derive_init(context) == 1,
            EVP_PKEY_CTX_set_hkdf_md(context, EVP_sha256()) == 1,
            EVP_PKEY_CTX_set1_hkdf_salt(context, salt, CInt(salt.count)) == 1,
            EVP_PKEY_CTX_add1_hkdf_info(context, info, CInt(info.count)) == 1,
            key.withBytes({ EVP_PKEY_CTX_set1_hkdf_key(context, $0.unsigned, CInt($0.count)) }) == 1
        else { throw libcryptoFailure(what) }
        let derived = try SecretBytes(capacity: keySize)
        try derived.fill { (output) throws(Failure) in
            var length = output.count
            guard EVP_PKEY_derive(context, output.bindMemory(to: UInt8.self).baseAddress, &length) == 1,
                length == output.count
            else { throw libcryptoFailure(what) }
        }
        return derived
    }

    /// HMAC-SHA-256. RFC 2104; HMAC(3)
    static func hmac(key: SecretBytes, _ bytes: [UInt8]) throws(Failure) -> [UInt8] {
        var tag = [UInt8](repeating: 0, count: 32)
        var length: CUnsignedInt = 0
        let made = key.withBytes {
            HMAC(EVP_sha256(), $0.baseAddress, CInt($0.count), bytes, bytes.count, &tag, &length)
        }
        guard made != nil, length == tag.count else { throw libcryptoFailure("cannot compute HMAC-SHA-256") }
        return tag
    }

    /// Compares in a time that does not depend on the contents. CRYPTO_memcmp(3)
    static func areEqual(_ one: [UInt8], _ other: [UInt8]) -> Bool {
        one.count == other.count && CRYPTO_memcmp(one, other, one.count) == 0
    }

    /// What is encrypted as one: a secret, with what is none before and after it.
    struct Plaintext {
        var before: [UInt8] = []
        let secret: SecretBytes
        var after: [UInt8] = []

        /// Bytes of all three.
        var count: Int { before.count + secret.count + after.count }
    }

    /// Encrypts with AES-256-GCM; returns the ciphertext and, after it, the tag.
    static func seal(
        _ plaintext: Plaintext,
        key: SecretBytes,
        nonce: [UInt8],
        associatedData: [UInt8]
    ) throws(Failure) -> [UInt8] {
        precondition(key.count == keySize && nonce.count == nonceSize)
        let what = "cannot encrypt"
        let context = EVP_CIPHER_CTX_new()
        defer { EVP_CIPHER_CTX_free(context) }
        var output = [UInt8](repeating: 0, count: plaintext.count + tagSize)
        let good = output.withUnsafeMutableBytes { output in
            var target = output.bindMemory(to: UInt8.self).baseAddress
            /// GCM puts out as many bytes as it takes in, each time.
            func encrypt(_ bytes: UnsafeRawBufferPointer) -> Bool {
                var length: CInt = 0
                if bytes.isEmpty { return true }
                guard EVP_EncryptUpdate(context, target, &length, bytes.unsigned, CInt(bytes.count)) == 1,
                    length == CInt(bytes.count)
                else { return false }
                target = target.map { $0 + bytes.count }
                return true
            }
            var length: CInt = 0
            return context != nil
                && key.withBytes({ EVP_EncryptInit_ex(context, aes256GCM, nil, $0.unsigned, nonce) }) == 1
                && EVP_EncryptUpdate(context, nil, &length, associatedData, CInt(associatedData.count)) == 1
                && plaintext.before.withUnsafeBytes(encrypt)
                && plaintext.secret.withBytes(encrypt)
                && plaintext.after.withUnsafeBytes(encrypt)
                && EVP_EncryptFinal_ex(context, target, &length) == 1
                && EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, CInt(tagSize), target) == 1
        }
        guard good else { throw libcryptoFailure(what) }
        return output
    }

    /// Decrypts what ``seal(_:key:nonce:associatedData:)`` made.
    ///
    /// Returns nothing when the tag does not fit: another key, or a byte that was changed.
    static func open(
        _ sealed: ArraySlice<UInt8>,
        key: SecretBytes,
        nonce: [UInt8],
        associatedData: [UInt8]
    ) throws(Failure) -> SecretBytes? {
        precondition(key.count == keySize && nonce.count == nonceSize)
        guard sealed.count >= tagSize else { return nil }
        let context = EVP_CIPHER_CTX_new()
        defer { EVP_CIPHER_CTX_free(context) }
        let ciphertext = Array(sealed.dropLast(tagSize))
        var tag = Array(sealed.suffix(tagSize))
        let plaintext = try SecretBytes(capacity: max(ciphertext.count, 1))
        var length: CInt = 0
        guard context != nil,
            key.withBytes({ EVP_DecryptInit_ex(context, aes256GCM, nil, $0.unsigned, nonce) }) == 1,
            EVP_DecryptUpdate(context, nil, &length, associatedData, CInt(associatedData.count)) == 1,
            EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, CInt(tagSize), &tag) == 1
        else {
            throw libcryptoFailure("cannot decrypt")
        }
        var genuine = false
        plaintext.append { target in
            let bytes = target.bindMemory(to: UInt8.self).baseAddress
            var last: CInt = 0
            guard EVP_DecryptUpdate(context, bytes, &length, ciphertext, CInt(ciphertext.count)) == 1,
                length == CInt(ciphertext.count),
                EVP_DecryptFinal_ex(context, bytes.map { $0 + ciphertext.count }, &last) == 1
            else { return -1 }
            genuine = true
            return ciphertext.count
        }
        // What a failed check decrypted must not be seen by anybody; the memory is wiped with its owner.
        guard genuine else { return nil }
        return plaintext
    }

    private static func libcryptoFailure(_ what: String) -> Failure {
        let code = ERR_get_error()
        ERR_clear_error()
        return Failure(
            what,
            because: "libcrypto: " + (ERR_reason_error_string(code).map { String(cString: $0) } ?? "failed")
        )
    }
}

extension UnsafeRawBufferPointer {
    /// As libcrypto wants it.
    fileprivate var unsigned: UnsafePointer<UInt8>? { bindMemory(to: UInt8.self).baseAddress }
}
