import CLibCrypto
import CryptoLibCrypto
import CryptoPrimitives
import Platform

/// A certificate in DER, as far as its issuer needs to read it. RFC 5280
public final class Certificate {
    /// The certificate in DER.
    public let encoded: [UInt8]
    private let pointer: OpaquePointer

    private static let what = "cannot read a certificate"

    /// Parses a certificate; bytes after it are refused. d2i_X509(3)
    public convenience init(decoding bytes: [UInt8]) throws(Failure) {
        let parsed = bytes.withUnsafeBytes { memory -> OpaquePointer? in
            var next = memory.unsigned
            guard let base = memory.unsigned, let parsed = d2i_X509(nil, &next, memory.count) else { return nil }
            guard next == base + memory.count else {
                X509_free(parsed)
                return nil
            }
            return parsed
        }
        guard let parsed else { throw LibCrypto.failure(Self.what) }
        self.init(owning: parsed, encoded: bytes)
    }

    private init(owning pointer: OpaquePointer, encoded: [UInt8]) {
        self.pointer = pointer
        self.encoded = encoded
    }

    deinit { X509_free(pointer) }

    /// Calls `body` with libcrypto's object, which lives until `body` returns.
    func withPointer<Result>(_ body: (OpaquePointer) -> Result) -> Result {
        defer { withExtendedLifetime(self) {} }
        return body(pointer)
    }

    /// The public key, a SubjectPublicKeyInfo in DER. X509_get_X509_PUBKEY(3)
    public var publicKey: [UInt8] {
        get throws(Failure) {
            guard let key = withPointer({ X509_get_pubkey($0) }).map(LibCryptoKey.init),
                let encoded = key.encodePublicKey()
            else { throw LibCrypto.failure(Self.what) }
            return encoded
        }
    }

    /// The identifier of the subject's key; empty if the certificate has none. RFC 5280, 4.2.1.2
    public var subjectKeyID: [UInt8] {
        withPointer { certificate in
            guard let text = X509_get0_subject_key_id(certificate) else { return [] }
            return Array(UnsafeBufferPointer(start: ASN1_STRING_get0_data(text), count: Int(ASN1_STRING_length(text))))
        }
    }

    /// Whether a key is that of the certificate. X509_check_private_key(3)
    public func isOf(_ key: SigningKey) -> Bool {
        defer { ERR_clear_error() }
        return withPointer { certificate in key.key.withPointer { X509_check_private_key(certificate, $0) } } == 1
    }

    /// Whether it was signed by the key of another certificate. X509_verify(3)
    public func isSigned(by issuer: Certificate) -> Bool {
        defer { ERR_clear_error() }
        guard let key = issuer.withPointer({ X509_get_pubkey($0) }).map(LibCryptoKey.init) else { return false }
        return withPointer { certificate in key.withPointer { X509_verify(certificate, $0) } } == 1
    }
}
