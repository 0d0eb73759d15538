import Platform

/// The primitives that a library has to provide for states and index, which write to memory of the caller.
///
/// A process that keeps a TPM's state needs only these, unless its index is bound to a counter in the host's TPM:
/// ``SessionLibrary``. All requirements are static, since the library is chosen when a program is built.
///
/// A function returns false if it fails; ``failure(_:)`` then returns the library's reason. Outputs have the size of
/// the algorithm's result.
public protocol PrimitiveLibrary: SendableMetatype {
    /// Prepares the library before its first use, so that it reads no configuration of the host's.
    static func prepare()
    /// Whether the library computes AES by tables on this processor, so that its timing depends on keys.
    static var computesAESByTables: Bool { get }
    /// Fills memory with random bytes; secret bytes may come from a separate generator.
    static func fillRandom(_ output: UnsafeMutableRawBufferPointer, isSecret: Bool) -> Bool
    /// Computes SHA-256 of the prefix, the secret and the suffix of a message.
    static func sha256(_ message: SecretMessage, into output: UnsafeMutableRawBufferPointer) -> Bool
    /// Computes HMAC-SHA-256.
    static func hmacSHA256(key: SecretBytes, _ bytes: [UInt8], into output: UnsafeMutableRawBufferPointer) -> Bool
    /// Derives a key with HKDF-SHA-256, extract and expand; fails for a size of 0, or above 255 digests.
    ///
    /// An empty salt means no salt.
    static func hkdfSHA256(
        key: SecretBytes,
        salt: [UInt8],
        info: [UInt8],
        into output: UnsafeMutableRawBufferPointer
    ) -> Bool
    /// Encrypts with AES-256-GCM; the output is the ciphertext, followed by the tag.
    static func sealAES256GCM(
        _ message: SecretMessage,
        _ parameters: AEADParameters,
        into output: UnsafeMutableRawBufferPointer
    ) -> Bool
    /// Decrypts with AES-256-GCM; the input is the ciphertext, followed by the tag.
    ///
    /// The output has the size of the ciphertext. It is plaintext only if the result says so.
    static func openAES256GCM(
        _ sealed: UnsafeRawBufferPointer,
        _ parameters: AEADParameters,
        into output: UnsafeMutableRawBufferPointer
    ) -> AEADOpened
    /// Compares two arrays of the same size in constant time.
    static func isEqual(_ one: [UInt8], _ other: [UInt8]) -> Bool
    /// Returns an error with the library's reason, and clears the reason.
    static func failure(_ what: String) -> Failure
}

/// Sizes in bytes that standards fix.
public enum AlgorithmSize {
    /// SHA-256's digest. FIPS 180-4
    public static let sha256Digest = 32
    /// AES-256's key. FIPS 197
    public static let aes256Key = 32
    /// The block of AES, and the initialization vector of its modes CBC and CFB. FIPS 197
    public static let aesBlock = 16
    /// The nonce of GCM. NIST SP 800-38D, 5.2.1.1
    public static let gcmNonce = 12
    /// The tag of GCM.
    public static let gcmTag = 16
}

/// The inputs that encryption and decryption with AES-256-GCM share.
public struct AEADParameters {
    package let key: SecretBytes
    package let nonce: [UInt8]
    package let associatedData: [UInt8]

    /// The key has 32 bytes, the nonce 12.
    public init(key: SecretBytes, nonce: [UInt8], associatedData: [UInt8]) {
        precondition(key.count == AlgorithmSize.aes256Key && nonce.count == AlgorithmSize.gcmNonce)
        self.key = key
        self.nonce = nonce
        self.associatedData = associatedData
    }
}

/// The result of a decryption with AES-256-GCM.
public enum AEADOpened {
    case plaintext
    /// The tag does not match: the key, the nonce or the associated data is wrong, or a byte was changed.
    case wrongTag
    /// The library could not compute.
    case failed
}
