import CLibCrypto
import CryptoLibCrypto
import Platform

/// A digest that a TPM has, by its TPM_ALG_ID. TCG Algorithm Registry, 6.2; FIPS 180-4
public enum DigestAlgorithm: UInt16, CaseIterable, Sendable {
    /// SHA-1, which no verifier should rely on.
    case sha1 = 0x0004
    /// SHA-256.
    case sha256 = 0x000b
    /// SHA-384.
    case sha384 = 0x000c
    /// SHA-512.
    case sha512 = 0x000d

    /// The name that tpm2-tools and the configuration have for it.
    public var name: String {
        switch self {
        case .sha1: "sha1"
        case .sha256: "sha256"
        case .sha384: "sha384"
        case .sha512: "sha512"
        }
    }

    /// The size of a digest, in bytes.
    public var size: Int {
        switch self {
        case .sha1: 20
        case .sha256: 32
        case .sha384: 48
        case .sha512: 64
        }
    }

    /// libcrypto's own description, which lives as long as the process. EVP_sha256(3)
    package var algorithm: OpaquePointer? {
        switch self {
        case .sha1: EVP_sha1()
        case .sha256: EVP_sha256()
        case .sha384: EVP_sha384()
        case .sha512: EVP_sha512()
        }
    }

    /// Returns the error about a computation that libcrypto refuses.
    package var failure: Failure { LibCrypto.failure("cannot compute the digest \(name)") }

    /// Computes the digest of a message.
    public func digest(_ bytes: [UInt8]) throws(Failure) -> [UInt8] {
        var digest = [UInt8](repeating: 0, count: size)
        guard EVP_Digest(bytes, bytes.count, &digest, nil, algorithm, nil) == 1 else { throw failure }
        return digest
    }
}

/// A digest of a message that comes in parts. EVP_DigestUpdate(3)
public final class RunningDigest {
    private let algorithm: DigestAlgorithm
    private let context: OpaquePointer

    /// Begins with an empty message.
    public init(_ algorithm: DigestAlgorithm) throws(Failure) {
        guard let context = EVP_MD_CTX_new() else { throw algorithm.failure }
        guard EVP_DigestInit_ex(context, algorithm.algorithm, nil) == 1 else {
            EVP_MD_CTX_free(context)
            throw algorithm.failure
        }
        self.algorithm = algorithm
        self.context = context
    }

    deinit { EVP_MD_CTX_free(context) }

    /// Adds a part.
    public func add(_ bytes: UnsafeRawBufferPointer) throws(Failure) {
        guard EVP_DigestUpdate(context, bytes.baseAddress, bytes.count) == 1 else { throw algorithm.failure }
    }

    /// Adds a part.
    public func add(_ bytes: [UInt8]) throws(Failure) {
        guard EVP_DigestUpdate(context, bytes, bytes.count) == 1 else { throw algorithm.failure }
    }

    /// Returns the digest of all parts, once.
    public func end() throws(Failure) -> [UInt8] {
        var digest = [UInt8](repeating: 0, count: algorithm.size)
        guard EVP_DigestFinal_ex(context, &digest, nil) == 1 else { throw algorithm.failure }
        return digest
    }
}
