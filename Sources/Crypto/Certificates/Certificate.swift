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

    /// Parses the certificates of a text in PEM, in their order; what else is in it is passed over. PEM_read_bio_X509(3)
    public static func all(inPEM text: [UInt8]) throws(Failure) -> [Certificate] {
        var encoded: [[UInt8]] = []
        text.withUnsafeBytes { bytes in
            let input = BIO_new_mem_buf(bytes.baseAddress, CInt(clamping: bytes.count))
            defer {
                BIO_free(input)
                ERR_clear_error()
            }
            while let certificate = PEM_read_bio_X509(input, nil, nil, nil) {
                defer { X509_free(certificate) }
                if let bytes = derEncoding(of: certificate) { encoded.append(bytes) }
            }
        }
        var certificates: [Certificate] = []
        for bytes in encoded { certificates.append(try Certificate(decoding: bytes)) }
        return certificates
    }

    /// Encodes libcrypto's object. i2d_X509(3)
    static func derEncoding(of certificate: OpaquePointer) -> [UInt8]? {
        let size = i2d_X509(certificate, nil)
        guard size > 0 else { return nil }
        var bytes = [UInt8](repeating: 0, count: Int(size))
        let written = bytes.withUnsafeMutableBytes { memory in
            var next = memory.unsigned
            return i2d_X509(certificate, &next)
        }
        return written == size ? bytes : nil
    }

    /// Whether it is an authority's. X509_check_ca(3)
    public var isAuthority: Bool { withPointer { X509_check_ca($0) } == 1 }

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

    /// The serial number, big-endian, without leading zeros. X509_get0_serialNumber(3)
    public var serialNumber: [UInt8] {
        withPointer { certificate in
            guard let number = ASN1_INTEGER_to_BN(X509_get0_serialNumber(certificate), nil) else { return [] }
            defer { BN_free(number) }
            var bytes = [UInt8](repeating: 0, count: Int(BN_num_bits(number) + 7) / 8)
            return BN_bn2bin(number, &bytes) == CInt(bytes.count) ? bytes : []
        }
    }

    /// The purposes of the key, ExtKeyUsageSyntax in DER; empty if the certificate names none. RFC 5280, 4.2.1.12
    public var extendedKeyUsage: [UInt8] {
        withPointer { certificate in
            let place = X509_get_ext_by_NID(certificate, NID_ext_key_usage, -1)
            guard place >= 0, let item = X509_get_ext(certificate, place), let value = X509_EXTENSION_get_data(item)
            else { return [] }
            return Array(
                UnsafeBufferPointer(start: ASN1_STRING_get0_data(value), count: Int(ASN1_STRING_length(value)))
            )
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
