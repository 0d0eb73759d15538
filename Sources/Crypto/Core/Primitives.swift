import Platform

/// The library that computes everything in this file.
///
/// A process that keeps a TPM's state needs no others, unless its index is bound to a counter in the host's TPM: a session
/// with that agrees on a key. Another library takes the place of libcrypto for these if it provides what
/// ``PrimitiveLibrary`` asks for, and is named here.
typealias Library = LibCryptoPrimitives

/// What a library has to provide, over memory of the caller.
///
/// A function that returns false has failed; ``failure(_:)`` then tells the library's reason. Outputs have the size of
/// the algorithm's result.
protocol PrimitiveLibrary {
    /// Fills memory with random bytes, from a generator of its own if they are a secret.
    static func fillRandom(_ output: UnsafeMutableRawBufferPointer, isSecret: Bool) -> Bool
    /// SHA-256 of what a message has in front, its secret and what follows.
    static func sha256(_ message: SecretMessage, into output: UnsafeMutableRawBufferPointer) -> Bool
    /// HMAC-SHA-256.
    static func hmacSHA256(key: SecretBytes, _ bytes: [UInt8], into output: UnsafeMutableRawBufferPointer) -> Bool
    /// HKDF-SHA-256, extract and expand.
    static func hkdfSHA256(
        key: SecretBytes,
        salt: [UInt8],
        info: [UInt8],
        into output: UnsafeMutableRawBufferPointer
    ) -> Bool
    /// AES-256-GCM; the output is the ciphertext and the tag after it.
    static func sealAES256GCM(
        _ message: SecretMessage,
        _ parameters: AES256GCM.Parameters,
        into output: UnsafeMutableRawBufferPointer
    ) -> Bool
    /// AES-256-GCM; the input is the ciphertext and the tag after it, the output as long as the ciphertext.
    static func openAES256GCM(
        _ sealed: UnsafeRawBufferPointer,
        _ parameters: AES256GCM.Parameters,
        into output: UnsafeMutableRawBufferPointer
    ) -> AES256GCM.Opened
    /// Compares memory of the same size in a time that does not depend on its contents.
    static func isEqual(_ one: [UInt8], _ other: [UInt8]) -> Bool
    /// An error that says what has failed, and the library's reason, which is forgotten.
    static func failure(_ what: String) -> Failure
}

/// Bytes that are processed as one: a secret, with what is none in front of it and after it.
///
/// The secret is read where it lies: a copy would be locked memory again.
public struct SecretMessage {
    let prefix: [UInt8]
    let secret: SecretBytes?
    let suffix: [UInt8]

    /// A secret, and what stands in front of it and follows it.
    public init(prefix: [UInt8] = [], secret: SecretBytes?, suffix: [UInt8] = []) {
        self.prefix = prefix
        self.secret = secret
        self.suffix = suffix
    }

    /// Bytes of all three.
    public var count: Int { prefix.count + (secret?.count ?? 0) + suffix.count }
}

/// Random bytes. SP 800-90A
public enum Random {
    private static let what = "cannot get random bytes"

    /// Random bytes that are no secret, such as a nonce.
    public static func bytes(count: Int) throws(Failure) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: count)
        guard bytes.withUnsafeMutableBytes({ Library.fillRandom($0, isSecret: false) }) else {
            throw Library.failure(what)
        }
        return bytes
    }

    /// Fills all of the memory of a secret.
    public static func fill(_ secret: SecretBytes) throws(Failure) {
        try secret.fill { (output) throws(Failure) in
            guard Library.fillRandom(output, isSecret: true) else { throw Library.failure(what) }
        }
    }

    /// Random bytes that are a secret.
    public static func secret(count: Int) throws(Failure) -> SecretBytes {
        let secret = try SecretBytes(capacity: count)
        try fill(secret)
        return secret
    }
}

/// SHA-256. FIPS 180-4
public enum SHA256 {
    /// Bytes of a digest.
    public static let digestSize = 32
    private static let what = "cannot compute SHA-256"

    /// The digest of one part and then another.
    public static func digest(_ bytes: [UInt8], _ more: [UInt8] = []) throws(Failure) -> [UInt8] {
        var digest = [UInt8](repeating: 0, count: digestSize)
        let message = SecretMessage(prefix: bytes, secret: nil, suffix: more)
        guard digest.withUnsafeMutableBytes({ Library.sha256(message, into: $0) }) else { throw Library.failure(what) }
        return digest
    }

    /// The digest of a secret, which is a secret itself.
    public static func secretDigest(_ message: SecretMessage) throws(Failure) -> SecretBytes {
        let digest = try SecretBytes(capacity: digestSize)
        try digest.fill { (output) throws(Failure) in
            guard Library.sha256(message, into: output) else { throw Library.failure(what) }
        }
        return digest
    }
}

/// HMAC with SHA-256. RFC 2104, FIPS 198-1
public enum HMACSHA256 {
    /// Bytes of a tag.
    public static let tagSize = 32
    private static let what = "cannot compute HMAC-SHA-256"

    /// The tag of a message.
    public static func tag(key: SecretBytes, _ bytes: [UInt8]) throws(Failure) -> [UInt8] {
        var tag = [UInt8](repeating: 0, count: tagSize)
        guard tag.withUnsafeMutableBytes({ Library.hmacSHA256(key: key, bytes, into: $0) }) else {
            throw Library.failure(what)
        }
        return tag
    }

    /// A tag that is used as a key.
    public static func secretTag(key: SecretBytes, _ bytes: [UInt8]) throws(Failure) -> SecretBytes {
        let tag = try SecretBytes(capacity: tagSize)
        try tag.fill { (output) throws(Failure) in
            guard Library.hmacSHA256(key: key, bytes, into: output) else { throw Library.failure(what) }
        }
        return tag
    }

    /// Whether two tags are the same, compared in a time that does not depend on where they differ.
    public static func areEqual(_ one: [UInt8], _ other: [UInt8]) -> Bool {
        one.count == other.count && Library.isEqual(one, other)
    }
}

/// HKDF with SHA-256. RFC 5869
public enum HKDF {
    /// A key of ``AES256GCM/keySize`` bytes from another secret; an empty salt is none.
    public static func key(from secret: SecretBytes, salt: [UInt8] = [], info: [UInt8]) throws(Failure) -> SecretBytes {
        let key = try SecretBytes(capacity: AES256GCM.keySize)
        try key.fill { (output) throws(Failure) in
            guard Library.hkdfSHA256(key: secret, salt: salt, info: info, into: output) else {
                throw Library.failure("cannot derive a key")
            }
        }
        return key
    }
}

/// AES-256-GCM. NIST SP 800-38D
public enum AES256GCM {
    /// Bytes of a key.
    public static let keySize = 32
    /// Bytes of a nonce. NIST SP 800-38D, 5.2.1.1
    public static let nonceSize = 12
    /// Bytes of a tag.
    public static let tagSize = 16

    /// What both sides need beside the text.
    struct Parameters {
        let key: SecretBytes
        let nonce: [UInt8]
        let associatedData: [UInt8]

        init(key: SecretBytes, nonce: [UInt8], associatedData: [UInt8]) {
            precondition(key.count == keySize && nonce.count == nonceSize)
            self.key = key
            self.nonce = nonce
            self.associatedData = associatedData
        }
    }

    /// How decryption ended.
    enum Opened {
        case plaintext
        /// The tag is another one.
        case wrongTag
        case failed
    }

    /// Encrypts; returns the ciphertext and, after it, the tag.
    public static func seal(
        _ message: SecretMessage,
        key: SecretBytes,
        nonce: [UInt8],
        associatedData: [UInt8]
    ) throws(Failure) -> [UInt8] {
        let parameters = Parameters(key: key, nonce: nonce, associatedData: associatedData)
        var sealed = [UInt8](repeating: 0, count: message.count + tagSize)
        guard sealed.withUnsafeMutableBytes({ Library.sealAES256GCM(message, parameters, into: $0) }) else {
            throw Library.failure("cannot encrypt")
        }
        return sealed
    }

    /// Decrypts what ``seal(_:key:nonce:associatedData:)`` made.
    ///
    /// Returns nil if the tag does not fit: it was made with another key, or a byte was changed.
    public static func open(
        _ sealed: ArraySlice<UInt8>,
        key: SecretBytes,
        nonce: [UInt8],
        associatedData: [UInt8]
    ) throws(Failure) -> SecretBytes? {
        let parameters = Parameters(key: key, nonce: nonce, associatedData: associatedData)
        guard sealed.count >= tagSize else { return nil }
        let size = sealed.count - tagSize
        let plaintext = try SecretBytes(capacity: max(size, 1))
        var opened = Opened.failed
        plaintext.append { output in
            let target = UnsafeMutableRawBufferPointer(rebasing: output.prefix(size))
            opened = sealed.withUnsafeBytes { Library.openAES256GCM($0, parameters, into: target) }
            // What a failed check decrypted must not be seen by anybody; the memory is wiped with its owner.
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
