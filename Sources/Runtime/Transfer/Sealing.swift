import CLibCrypto
import Platform

/// The primitives of an export, from libcrypto.
enum Sealing {
    /// Bytes of an AES-256 key.
    static let keySize = 32
    /// Bytes of a GCM nonce. NIST SP 800-38D, 5.2.1.1
    static let nonceSize = 12
    /// Bytes of a GCM tag.
    static let tagSize = 16

    /// Random bytes that are no secret. RAND_bytes(3)
    static func random(count: Int) throws(Failure) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: count)
        guard RAND_status() == 1, RAND_bytes(&bytes, CInt(count)) == 1 else {
            throw libcryptoFailure("cannot get random bytes")
        }
        return bytes
    }

    /// SHA-256. FIPS 180-4
    static func sha256(_ bytes: [UInt8]) throws(Failure) -> [UInt8] {
        var digest = [UInt8](repeating: 0, count: 32)
        guard EVP_Digest(bytes, bytes.count, &digest, nil, EVP_sha256(), nil) == 1 else {
            throw libcryptoFailure("cannot compute SHA-256")
        }
        return digest
    }

    /// A key of ``keySize`` bytes from a secret, without a salt. RFC 5869 with SHA-256; EVP_PKEY_CTX_set_hkdf_md(3)
    static func hkdf(_ secret: SecretBytes, info: [UInt8]) throws(Failure) -> SecretBytes {
        let what = "cannot derive a key"
        let context = EVP_PKEY_CTX_new_id(EVP_PKEY_HKDF, nil)
        defer { EVP_PKEY_CTX_free(context) }
        guard context != nil, EVP_PKEY_derive_init(context) == 1,
            EVP_PKEY_CTX_set_hkdf_md(context, EVP_sha256()) == 1,
            EVP_PKEY_CTX_add1_hkdf_info(context, info, CInt(info.count)) == 1,
            secret.withBytes({ EVP_PKEY_CTX_set1_hkdf_key(context, $0.unsigned, CInt($0.count)) }) == 1
        else { throw libcryptoFailure(what) }
        let derived = try SecretBytes(capacity: keySize)
        try derived.fill { (output) throws(Failure) in
            var length = output.count
            guard EVP_PKEY_derive(context, output.unsigned, &length) == 1, length == output.count else {
                throw libcryptoFailure(what)
            }
        }
        return derived
    }

    /// Encrypts with AES-256-GCM; returns the ciphertext and, after it, the tag.
    static func seal(
        _ plaintext: SecretBytes,
        key: SecretBytes,
        nonce: [UInt8],
        associatedData: [UInt8]
    ) throws(Failure) -> [UInt8] {
        precondition(key.count == keySize && nonce.count == nonceSize)
        let context = EVP_CIPHER_CTX_new()
        defer { EVP_CIPHER_CTX_free(context) }
        var output = [UInt8](repeating: 0, count: plaintext.count + tagSize)
        var length: CInt = 0
        let good = output.withUnsafeMutableBytes { output in
            let target = output.unsigned
            let tag = target.map { $0 + plaintext.count }
            return context != nil
                && key.withBytes({ EVP_EncryptInit_ex(context, EVP_aes_256_gcm(), nil, $0.unsigned, nonce) }) == 1
                && EVP_EncryptUpdate(context, nil, &length, associatedData, CInt(associatedData.count)) == 1
                && plaintext.withBytes({
                    EVP_EncryptUpdate(context, target, &length, $0.unsigned, CInt($0.count))
                }) == 1
                && length == CInt(plaintext.count)
                && EVP_EncryptFinal_ex(context, tag, &length) == 1
                && EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, CInt(tagSize), tag) == 1
        }
        guard good else { throw libcryptoFailure("cannot encrypt") }
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
            key.withBytes({ EVP_DecryptInit_ex(context, EVP_aes_256_gcm(), nil, $0.unsigned, nonce) }) == 1,
            EVP_DecryptUpdate(context, nil, &length, associatedData, CInt(associatedData.count)) == 1,
            EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, CInt(tagSize), &tag) == 1
        else { throw libcryptoFailure("cannot decrypt") }
        let written = plaintext.append { target in
            var last: CInt = 0
            guard EVP_DecryptUpdate(context, target.unsigned, &length, ciphertext, CInt(ciphertext.count)) == 1,
                length == CInt(ciphertext.count),
                EVP_DecryptFinal_ex(context, target.unsigned.map { $0 + ciphertext.count }, &last) == 1
            else { return -1 }
            return ciphertext.count
        }
        // What a failed check decrypted must not be seen by anybody; the memory is wiped with its owner.
        ERR_clear_error()
        return written < 0 ? nil : plaintext
    }

    /// What libcrypto says of its last error.
    static func libcryptoFailure(_ what: String) -> Failure {
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
    var unsigned: UnsafePointer<UInt8>? { bindMemory(to: UInt8.self).baseAddress }
}

extension UnsafeMutableRawBufferPointer {
    /// As libcrypto wants it.
    var unsigned: UnsafeMutablePointer<UInt8>? { bindMemory(to: UInt8.self).baseAddress }
}
