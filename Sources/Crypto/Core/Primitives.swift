import CryptoPrimitives
import Platform

/// Random bytes. SP 800-90A
public enum RandomSource<Library: PrimitiveLibrary> {
    private static var what: String { "cannot get random bytes" }

    /// Returns random bytes that are not secret, such as a nonce. RAND_bytes(3)
    public static func bytes(count: Int) throws(Failure) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: count)
        guard bytes.withUnsafeMutableBytes({ Library.fillRandom($0, isSecret: false) }) else {
            throw Library.failure(what)
        }
        return bytes
    }

    /// Fills the whole capacity of a secret with random bytes. RAND_priv_bytes(3)
    public static func fill(_ secret: SecretBytes) throws(Failure) {
        try secret.fill { (output) throws(Failure) in
            guard Library.fillRandom(output, isSecret: true) else { throw Library.failure(what) }
        }
    }

    /// Returns random bytes that are secret, such as a key. RAND_priv_bytes(3)
    public static func secret(count: Int) throws(Failure) -> SecretBytes {
        let secret = try SecretBytes(capacity: count)
        try fill(secret)
        return secret
    }
}

/// SHA-256. FIPS 180-4
public enum Digest<Library: PrimitiveLibrary> {
    /// The size of a digest, in bytes.
    public static var digestSize: Int { AlgorithmSize.sha256Digest }
    private static var what: String { "cannot compute SHA-256" }

    /// Computes the digest of two parts, one after the other.
    public static func digest(_ bytes: [UInt8], _ more: [UInt8] = []) throws(Failure) -> [UInt8] {
        var digest = [UInt8](repeating: 0, count: digestSize)
        let message = SecretMessage(prefix: bytes, secret: nil, suffix: more)
        guard digest.withUnsafeMutableBytes({ Library.sha256(message, into: $0) }) else { throw Library.failure(what) }
        return digest
    }

    /// Computes the digest of a message with a secret; the digest is secret too.
    public static func secretDigest(_ message: SecretMessage) throws(Failure) -> SecretBytes {
        let digest = try SecretBytes(capacity: digestSize)
        try digest.fill { (output) throws(Failure) in
            guard Library.sha256(message, into: output) else { throw Library.failure(what) }
        }
        return digest
    }
}

/// HMAC with SHA-256. RFC 2104, FIPS 198-1
public enum KeyedDigest<Library: PrimitiveLibrary> {
    /// The size of a tag, in bytes.
    public static var tagSize: Int { AlgorithmSize.sha256Digest }
    private static var what: String { "cannot compute HMAC-SHA-256" }

    /// Computes the tag of a message.
    public static func tag(key: SecretBytes, _ bytes: [UInt8]) throws(Failure) -> [UInt8] {
        var tag = [UInt8](repeating: 0, count: tagSize)
        guard tag.withUnsafeMutableBytes({ Library.hmacSHA256(key: key, bytes, into: $0) }) else {
            throw Library.failure(what)
        }
        return tag
    }

    /// Computes a tag that is used as a key.
    public static func secretTag(key: SecretBytes, _ bytes: [UInt8]) throws(Failure) -> SecretBytes {
        let tag = try SecretBytes(capacity: tagSize)
        try tag.fill { (output) throws(Failure) in
            guard Library.hmacSHA256(key: key, bytes, into: output) else { throw Library.failure(what) }
        }
        return tag
    }

    /// Compares two tags in constant time; returns false if their sizes differ.
    public static func areEqual(_ one: [UInt8], _ other: [UInt8]) -> Bool {
        one.count == other.count && Library.isEqual(one, other)
    }
}

/// HKDF with SHA-256. RFC 5869
public enum KeyDerivation<Library: PrimitiveLibrary> {
    /// Derives a key of ``AES256GCM/keySize`` bytes from another secret; an empty salt means no salt.
    public static func key(from secret: SecretBytes, salt: [UInt8] = [], info: [UInt8]) throws(Failure) -> SecretBytes {
        let key = try SecretBytes(capacity: AlgorithmSize.aes256Key)
        try key.fill { (output) throws(Failure) in
            guard Library.hkdfSHA256(key: secret, salt: salt, info: info, into: output) else {
                throw Library.failure("cannot derive a key")
            }
        }
        return key
    }
}

/// AES-256-GCM. NIST SP 800-38D
public enum AuthenticatedEncryption<Library: PrimitiveLibrary> {
    /// The size of a key, in bytes.
    public static var keySize: Int { AlgorithmSize.aes256Key }
    /// The size of a nonce, in bytes.
    public static var nonceSize: Int { AlgorithmSize.gcmNonce }
    /// The size of a tag, in bytes.
    public static var tagSize: Int { AlgorithmSize.gcmTag }

    /// Encrypts a message; returns the ciphertext, followed by the tag.
    public static func seal(
        _ message: SecretMessage,
        key: SecretBytes,
        nonce: [UInt8],
        associatedData: [UInt8]
    ) throws(Failure) -> [UInt8] {
        let parameters = AEADParameters(key: key, nonce: nonce, associatedData: associatedData)
        var sealed = [UInt8](repeating: 0, count: message.count + tagSize)
        guard sealed.withUnsafeMutableBytes({ Library.sealAES256GCM(message, parameters, into: $0) }) else {
            throw Library.failure("cannot encrypt")
        }
        return sealed
    }

    /// Decrypts the result of ``seal(_:key:nonce:associatedData:)``.
    ///
    /// Returns nil if the tag does not match: the key, the nonce or the associated data is wrong, or a byte was
    /// changed.
    public static func open(
        _ sealed: ArraySlice<UInt8>,
        key: SecretBytes,
        nonce: [UInt8],
        associatedData: [UInt8]
    ) throws(Failure) -> SecretBytes? {
        let parameters = AEADParameters(key: key, nonce: nonce, associatedData: associatedData)
        guard sealed.count >= tagSize else { return nil }
        let size = sealed.count - tagSize
        let plaintext = try SecretBytes(capacity: max(size, 1))
        var opened = AEADOpened.failed
        plaintext.append { output in
            let target = UnsafeMutableRawBufferPointer(rebasing: output.prefix(size))
            opened = sealed.withUnsafeBytes { Library.openAES256GCM($0, parameters, into: target) }
            // Unauthenticated plaintext must not leave this function: -1 appends nothing, and deinit wipes the memory.
            if case .plaintext = opened { return size }
            return -1
        }
        switch opened {
        case .plaintext: return plaintext
        case .wrongTag: return nil
        case .failed: throw Library.failure("cannot decrypt")
        }
    }
}
