import Platform

/// What a library has to provide for sessions with the host's TPM, beside ``PrimitiveLibrary``.
///
/// What the TPM sends may be anything: no input of the sizes that are named here may end the process.
public protocol SessionLibrary: PrimitiveLibrary {
    /// The library's private keys on P-256.
    associatedtype P256Key: P256PrivateKey

    /// Encrypts a secret with RSA and OAEP, SHA-256 for both of its hashes. RFC 8017, 7.1
    ///
    /// The output has the size of the modulus, the secret at most ``RSAPublicKey/oaepLimit`` bytes. `label` is OAEP's
    /// `L`.
    static func encryptOAEP(
        _ secret: SecretBytes,
        _ key: RSAPublicKey,
        label: [UInt8],
        into output: UnsafeMutableRawBufferPointer
    ) -> Bool
    /// Encrypts or decrypts with AES-128-CFB; the output has the size of the input. NIST SP 800-38A, 6.3
    ///
    /// `keyAndVector` is the key of 16 bytes, followed by the initialization vector of 16 bytes.
    static func runCFB(
        _ input: UnsafeRawBufferPointer,
        into output: UnsafeMutableRawBufferPointer,
        keyAndVector: SecretBytes,
        encrypts: Bool
    ) -> Bool
}

/// A private key on P-256, for Diffie-Hellman. NIST SP 800-56A
public protocol P256PrivateKey: AnyObject {
    /// Generates a key; returns nil if the library fails.
    static func generate() -> Self?
    /// Creates a key from its number, 32 bytes, big-endian; returns nil if it is not in the range of the curve's order.
    ///
    /// Known answers need it; programs generate their keys.
    static func key(scalar: SecretBytes) -> Self?
    /// The public key.
    var point: P256Point { get }
    /// Computes the shared secret with a peer, the x coordinate of 32 bytes.
    func agree(with peer: P256Point, into output: UnsafeMutableRawBufferPointer) -> P256Agreed
}

/// The result of an agreement on P-256.
public enum P256Agreed {
    case secret
    /// The peer's point is not one of the curve, or not a key: the point at infinity is none.
    case notOnCurve
    /// The library could not compute.
    case failed
}

/// A point of P-256, which need not be on the curve: whoever uses it checks that.
public struct P256Point: Equatable, Sendable {
    /// The size of a coordinate, in bytes.
    public static let coordinateSize = 32

    /// The x coordinate, big-endian.
    public let x: [UInt8]
    /// The y coordinate, big-endian.
    public let y: [UInt8]

    /// Creates a point; returns nil if a coordinate has not ``coordinateSize`` bytes.
    public init?(x: [UInt8], y: [UInt8]) {
        guard x.count == Self.coordinateSize, y.count == Self.coordinateSize else { return nil }
        self.x = x
        self.y = y
    }
}

/// An RSA key to encrypt to, with which no library can go wrong; whether it is secure is not examined.
public struct RSAPublicKey: Equatable, Sendable {
    /// The sizes that a modulus may have, in bytes: from what OAEP takes to what libcrypto computes with.
    public static let modulusSizes = 128...2048

    /// The modulus, big-endian.
    public let modulus: [UInt8]
    /// The exponent.
    public let exponent: UInt32

    /// Creates a key; returns nil if the numbers cannot be one.
    ///
    /// Modular exponentiation in constant time needs an odd modulus, and ends the process for another one (GMP's
    /// manual, mpz_powm_sec). A zero as first byte would make the ciphertext shorter than it is said to be.
    public init?(modulus: [UInt8], exponent: UInt32) {
        guard Self.modulusSizes.contains(modulus.count), let first = modulus.first, let last = modulus.last, first != 0,
            last & 1 == 1, exponent >= 3, exponent & 1 == 1
        else { return nil }
        self.modulus = modulus
        self.exponent = exponent
    }

    /// The longest secret that fits, in bytes. RFC 8017, 7.1.1
    public var oaepLimit: Int { modulus.count - 2 * AlgorithmSize.sha256Digest - 2 }
}
