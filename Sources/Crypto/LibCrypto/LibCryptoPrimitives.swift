import CLibCrypto
import CryptoPrimitives
import Platform

/// The cryptographic primitives, computed by libcrypto.
public enum LibCryptoPrimitives: PrimitiveLibrary {
    // Fetched once: with EVP_sha256() and the like, libcrypto searches its providers at each use, which takes longer
    // than the computation (crypto(7), ALGORITHM FETCHING). If a fetch returns NULL, the first use of the algorithm
    // fails.
    private nonisolated(unsafe) static let aes256GCM = EVP_CIPHER_fetch(nil, "AES-256-GCM", nil)
    private nonisolated(unsafe) static let digest = EVP_MD_fetch(nil, digestName, nil)
    private nonisolated(unsafe) static let hkdf = EVP_KDF_fetch(nil, "HKDF", nil)
    private nonisolated(unsafe) static let hmac = hmacToCopy()

    private static let digestName = "SHA2-256"
    // OSSL_PARAM keeps only a pointer to the name, which must stay valid: a StaticString does.
    private static let digestParameter: StaticString = "digest"
    private static let keyParameter: StaticString = "key"
    private static let saltParameter: StaticString = "salt"
    private static let infoParameter: StaticString = "info"

    /// Leaves openssl.cnf unread: that takes as long as what a hook computes. OPENSSL_init_crypto(3)
    public static func prepare() { OPENSSL_init_crypto(UInt64(OPENSSL_INIT_NO_LOAD_CONFIG), nil) }

    /// Without the instructions it computes AES in vector registers, in constant time.
    public static var computesAESByTables: Bool { false }

    public static func failure(_ what: String) -> Failure { LibCrypto.failure(what) }

    // RAND_bytes(3), RAND_priv_bytes(3)
    public static func fillRandom(_ output: UnsafeMutableRawBufferPointer, isSecret: Bool) -> Bool {
        guard RAND_status() == 1 else { return false }
        let count = CInt(output.count)
        return (isSecret ? RAND_priv_bytes(output.unsigned, count) : RAND_bytes(output.unsigned, count)) == 1
    }

    // EVP_DigestInit(3)
    public static func sha256(_ message: SecretMessage, into output: UnsafeMutableRawBufferPointer) -> Bool {
        precondition(output.count == AlgorithmSize.sha256Digest)
        let context = EVP_MD_CTX_new()
        defer { EVP_MD_CTX_free(context) }
        return context != nil && EVP_DigestInit_ex(context, digest, nil) == 1
            && message.forEachPart { EVP_DigestUpdate(context, $0.baseAddress, $0.count) == 1 }
            && EVP_DigestFinal_ex(context, output.unsigned, nil) == 1
    }

    // EVP_MAC(3)
    public static func hmacSHA256(
        key: SecretBytes,
        _ bytes: [UInt8],
        into output: UnsafeMutableRawBufferPointer
    ) -> Bool {
        precondition(output.count == AlgorithmSize.sha256Digest)
        guard let hmac, let context = EVP_MAC_CTX_dup(hmac) else { return false }
        defer { EVP_MAC_CTX_free(context) }
        var length = 0
        return key.withBytes { EVP_MAC_init(context, $0.unsigned, $0.count, nil) } == 1
            && EVP_MAC_update(context, bytes, bytes.count) == 1
            && EVP_MAC_final(context, output.unsigned, &length, output.count) == 1
            && length == output.count
    }

    /// Creates a context with its digest, to be copied; each copy then gets its own key.
    ///
    /// Its key of zeros is never used, but libcrypto cannot copy a context without a key.
    private static func hmacToCopy() -> OpaquePointer? {
        guard let algorithm = EVP_MAC_fetch(nil, "HMAC", nil) else { return nil }
        defer { EVP_MAC_free(algorithm) }
        guard let context = EVP_MAC_CTX_new(algorithm) else { return nil }
        let key = [UInt8](repeating: 0, count: AlgorithmSize.sha256Digest)
        let isReady = withDigest { EVP_MAC_init(context, key, key.count, [$0, OSSL_PARAM_construct_end()]) } == 1
        if isReady { return context }
        EVP_MAC_CTX_free(context)
        return nil
    }

    // EVP_KDF-HKDF(7)
    public static func hkdfSHA256(
        key: SecretBytes,
        salt: [UInt8],
        info: [UInt8],
        into output: UnsafeMutableRawBufferPointer
    ) -> Bool {
        guard let context = EVP_KDF_CTX_new(hkdf) else { return false }
        defer { EVP_KDF_CTX_free(context) }
        return withDigest { digest in
            key.withBytes { key in
                salt.withUnsafeBytes { salt in
                    info.withUnsafeBytes { info in
                        var parameters = [digest, octets(keyParameter, key)]
                        if !salt.isEmpty { parameters.append(octets(saltParameter, salt)) }
                        if !info.isEmpty { parameters.append(octets(infoParameter, info)) }
                        parameters.append(OSSL_PARAM_construct_end())
                        return EVP_KDF_derive(context, output.unsigned, output.count, parameters) == 1
                    }
                }
            }
        }
    }

    /// Runs `body` with the parameter that names the digest, which is valid only during the call.
    private static func withDigest<Result>(_ body: (OSSL_PARAM) -> Result) -> Result {
        var name = digestName.utf8CString
        return name.withUnsafeMutableBufferPointer {
            body(OSSL_PARAM_construct_utf8_string(text(digestParameter), $0.baseAddress, 0))
        }
    }

    /// Returns a parameter with these bytes; the pointer is mutable, but libcrypto only reads it.
    private static func octets(_ name: StaticString, _ bytes: UnsafeRawBufferPointer) -> OSSL_PARAM {
        OSSL_PARAM_construct_octet_string(text(name), UnsafeMutableRawPointer(mutating: bytes.baseAddress), bytes.count)
    }

    private static func text(_ name: StaticString) -> UnsafePointer<CChar> {
        UnsafeRawPointer(name.utf8Start).assumingMemoryBound(to: CChar.self)
    }

    // EVP_EncryptInit(3)
    public static func sealAES256GCM(
        _ message: SecretMessage,
        _ parameters: AEADParameters,
        into output: UnsafeMutableRawBufferPointer
    ) -> Bool {
        precondition(output.count == message.count + AlgorithmSize.gcmTag)
        let context = EVP_CIPHER_CTX_new()
        defer { EVP_CIPHER_CTX_free(context) }
        let (nonce, data) = (parameters.nonce, parameters.associatedData)
        var target = output.unsigned
        var length: CInt = 0
        return context != nil
            && parameters.key.withBytes { EVP_EncryptInit_ex(context, aes256GCM, nil, $0.unsigned, nonce) } == 1
            && EVP_EncryptUpdate(context, nil, &length, data, CInt(data.count)) == 1
            && message.forEachPart { part in
                // GCM is a stream mode: each update returns as many bytes as it gets.
                guard EVP_EncryptUpdate(context, target, &length, part.unsigned, CInt(part.count)) == 1,
                    length == CInt(part.count)
                else { return false }
                target = target.map { $0 + part.count }
                return true
            }
            && EVP_EncryptFinal_ex(context, target, &length) == 1
            && EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, CInt(AlgorithmSize.gcmTag), target) == 1
    }

    // EVP_DecryptInit(3)
    public static func openAES256GCM(
        _ sealed: UnsafeRawBufferPointer,
        _ parameters: AEADParameters,
        into output: UnsafeMutableRawBufferPointer
    ) -> AEADOpened {
        precondition(output.count == sealed.count - AlgorithmSize.gcmTag)
        let context = EVP_CIPHER_CTX_new()
        defer { EVP_CIPHER_CTX_free(context) }
        let (nonce, data) = (parameters.nonce, parameters.associatedData)
        let tag = UnsafeMutableRawPointer(mutating: sealed.baseAddress.map { $0 + output.count })
        var length: CInt = 0
        guard context != nil,
            parameters.key.withBytes({ EVP_DecryptInit_ex(context, aes256GCM, nil, $0.unsigned, nonce) }) == 1,
            EVP_DecryptUpdate(context, nil, &length, data, CInt(data.count)) == 1,
            // libcrypto only reads the tag, although the pointer is mutable.
            EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, CInt(AlgorithmSize.gcmTag), tag) == 1
        else { return .failed }
        var last: CInt = 0
        if EVP_DecryptUpdate(context, output.unsigned, &length, sealed.unsigned, CInt(output.count)) == 1,
            length == CInt(output.count),
            EVP_DecryptFinal_ex(context, output.unsigned.map { $0 + output.count }, &last) == 1
        {
            return .plaintext
        }
        ERR_clear_error()
        return .wrongTag
    }

    // CRYPTO_memcmp(3)
    public static func isEqual(_ one: [UInt8], _ other: [UInt8]) -> Bool {
        precondition(one.count == other.count)
        return CRYPTO_memcmp(one, other, one.count) == 0
    }
}
