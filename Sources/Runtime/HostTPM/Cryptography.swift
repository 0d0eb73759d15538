import CLibCrypto
import Platform

/// The primitives of sessions, all with SHA-256 and AES-128, from libcrypto.
enum TPMCryptography {
    /// Bytes of a SHA-256 digest, and of all keys that are derived here.
    static let digestSize = 32
    private static let blockSize = 16

    /// Random bytes that are no secret.
    static func random(count: Int) throws(Failure) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: count)
        guard RAND_status() == 1, RAND_bytes(&bytes, CInt(count)) == 1 else {
            throw libcryptoFailure("cannot get random bytes")
        }
        return bytes
    }

    /// Random bytes that are a secret.
    static func secretRandom(count: Int) throws(Failure) -> SecretBytes {
        let secret = try SecretBytes(capacity: count)
        try secret.fill { (buffer) throws(Failure) in
            let bytes = buffer.bindMemory(to: UInt8.self).baseAddress
            guard RAND_status() == 1, RAND_priv_bytes(bytes, CInt(buffer.count)) == 1 else {
                throw libcryptoFailure("cannot get random bytes")
            }
        }
        return secret
    }

    /// SHA-256. FIPS 180-4
    static func sha256(_ data: [UInt8]) throws(Failure) -> [UInt8] {
        var digest = [UInt8](repeating: 0, count: digestSize)
        guard EVP_Digest(data, data.count, &digest, nil, EVP_sha256(), nil) == 1 else {
            throw libcryptoFailure("cannot compute SHA-256")
        }
        return digest
    }

    /// HMAC with SHA-256. FIPS 198-1
    static func hmac(key: SecretBytes, _ data: [UInt8]) throws(Failure) -> [UInt8] {
        var code = [UInt8](repeating: 0, count: digestSize)
        var length: CUnsignedInt = 0
        let good = key.withBytes {
            HMAC(EVP_sha256(), $0.baseAddress, CInt($0.count), data, data.count, &code, &length) != nil
        }
        guard good, Int(length) == digestSize else { throw libcryptoFailure("cannot compute an HMAC") }
        return code
    }

    /// Whether two HMACs are the same, found out in a time that does not tell where they differ. CRYPTO_memcmp(3)
    static func isEqual(_ one: [UInt8], _ other: [UInt8]) -> Bool {
        one.count == other.count && CRYPTO_memcmp(one, other, one.count) == 0
    }

    /// 256 bits from a key. KDFa: TPM 2.0 Library, Part 1, 11.4.10.2; NIST SP 800-108, counter mode, one block
    static func kdfa(
        key: SecretBytes,
        label: String,
        contextU: [UInt8],
        contextV: [UInt8]
    ) throws(Failure) -> SecretBytes {
        var data = ByteWriter()
        data.write(UInt32(1))
        data.write(label.utf8)
        data.write(UInt8(0))
        data.write(contextU)
        data.write(contextV)
        data.write(UInt32(digestSize * 8))
        let derived = try SecretBytes(capacity: digestSize)
        let written = derived.append { target in
            var length: CUnsignedInt = 0
            let output = target.bindMemory(to: UInt8.self).baseAddress
            let good = key.withBytes {
                HMAC(EVP_sha256(), $0.baseAddress, CInt($0.count), data.bytes, data.bytes.count, output, &length) != nil
            }
            return good ? Int(length) : -1
        }
        guard written == digestSize else { throw libcryptoFailure("cannot derive a key") }
        return derived
    }

    /// 256 bits from an ECDH exchange. KDFe: Part 1, 11.4.10.3; NIST SP 800-56A, one block
    static func kdfe(
        shared: SecretBytes,
        label: String,
        partyU: [UInt8],
        partyV: [UInt8]
    ) throws(Failure) -> SecretBytes {
        let before: [UInt8] = [0, 0, 0, 1]
        let after = Array(label.utf8) + [0] + partyU + partyV
        let context = EVP_MD_CTX_new()
        defer { EVP_MD_CTX_free(context) }
        let derived = try SecretBytes(capacity: digestSize)
        let written = derived.append { target in
            guard context != nil, EVP_DigestInit_ex(context, EVP_sha256(), nil) == 1,
                EVP_DigestUpdate(context, before, before.count) == 1,
                shared.withBytes({ EVP_DigestUpdate(context, $0.baseAddress, $0.count) }) == 1,
                EVP_DigestUpdate(context, after, after.count) == 1,
                EVP_DigestFinal_ex(context, target.bindMemory(to: UInt8.self).baseAddress, nil) == 1
            else { return -1 }
            return digestSize
        }
        guard written == digestSize else { throw libcryptoFailure("cannot derive a key") }
        return derived
    }

    /// Encrypts with AES-128-CFB; the key is followed by the first vector. Part 1, 21.3
    static func encrypt(_ plaintext: SecretBytes, keyAndVector: SecretBytes) throws(Failure) -> [UInt8] {
        var output = [UInt8](repeating: 0, count: plaintext.count)
        let good = output.withUnsafeMutableBytes { output in
            plaintext.withBytes { cfb($0, into: output, keyAndVector: keyAndVector, encrypts: true) }
        }
        guard good else { throw libcryptoFailure("cannot encrypt") }
        return output
    }

    /// Decrypts with AES-128-CFB; the key is followed by the first vector.
    static func decrypt(_ ciphertext: [UInt8], keyAndVector: SecretBytes) throws(Failure) -> SecretBytes {
        let plaintext = try SecretBytes(capacity: max(ciphertext.count, 1))
        let written = plaintext.append { target in
            let good = ciphertext.withUnsafeBytes { cfb($0, into: target, keyAndVector: keyAndVector, encrypts: false) }
            return good ? ciphertext.count : -1
        }
        guard written == ciphertext.count else { throw libcryptoFailure("cannot decrypt") }
        return plaintext
    }

    private static func cfb(
        _ input: UnsafeRawBufferPointer,
        into output: UnsafeMutableRawBufferPointer,
        keyAndVector: SecretBytes,
        encrypts: Bool
    ) -> Bool {
        precondition(keyAndVector.count == 2 * blockSize && output.count >= input.count)
        let context = EVP_CIPHER_CTX_new()
        defer { EVP_CIPHER_CTX_free(context) }
        var length: CInt = 0
        let isReady = keyAndVector.withBytes { bytes in
            let key = bytes.bindMemory(to: UInt8.self).baseAddress
            return context != nil
                && EVP_CipherInit_ex(
                    context,
                    EVP_aes_128_cfb128(),
                    nil,
                    key,
                    key.map { $0 + blockSize },
                    encrypts ? 1 : 0
                ) == 1
        }
        // A stream: what goes in comes out at once, and nothing is left for EVP_CipherFinal_ex.
        return isReady
            && EVP_CipherUpdate(
                context,
                output.bindMemory(to: UInt8.self).baseAddress,
                &length,
                input.bindMemory(to: UInt8.self).baseAddress,
                CInt(input.count)
            ) == 1
            && Int(length) == input.count
    }

    /// What libcrypto says last, as an error of ours.
    static func libcryptoFailure(_ what: String) -> Failure {
        let code = ERR_get_error()
        ERR_clear_error()
        return Failure(
            what,
            because: "libcrypto: " + (ERR_reason_error_string(code).map { String(cString: $0) } ?? "failed")
        )
    }
}
