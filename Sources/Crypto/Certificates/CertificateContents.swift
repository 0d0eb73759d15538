import CLibCrypto
import CryptoLibCrypto
import CryptoPrimitives
import Platform

/// What a certificate is to say. RFC 5280, 4.1
public struct CertificateContents {
    /// An extension.
    public struct Extension {
        /// The identifier in dotted decimals.
        public let identifier: String
        /// Whether a verifier that does not know it has to refuse the certificate.
        public let isCritical: Bool
        /// The value in DER.
        public let value: [UInt8]

        /// Creates an extension; `value` is in DER.
        public init(_ identifier: String, isCritical: Bool, _ value: [UInt8]) {
            self.identifier = identifier
            self.isCritical = isCritical
            self.value = value
        }
    }

    /// The serial number, big-endian, positive, at most 20 bytes.
    public var serialNumber: [UInt8]
    /// The common name of the subject.
    public var commonName: String
    /// The first second in which it is valid, since 1970.
    public var notBefore: UInt64
    /// The public key, a SubjectPublicKeyInfo in DER.
    public var publicKey: [UInt8]
    /// The extensions, in this order.
    public var extensions: [Extension]

    /// The last second of a certificate that does not expire. RFC 5280, 4.1.2.5
    private static let forever = "99991231235959Z"
    private static let what = "cannot make a certificate"

    /// Creates contents.
    public init(
        serialNumber: [UInt8],
        commonName: String,
        notBefore: UInt64,
        publicKey: [UInt8],
        extensions: [Extension]
    ) {
        self.serialNumber = serialNumber
        self.commonName = commonName
        self.notBefore = notBefore
        self.publicKey = publicKey
        self.extensions = extensions
    }

    /// Makes the certificate, signed by a key; without an issuer it is the key's own. X509_sign(3)
    ///
    /// It is not valid before its issuer is.
    public func signed(by key: SigningKey, _ issuer: Certificate?) throws(Failure) -> Certificate {
        guard let made = X509_new() else { throw LibCrypto.failure(Self.what) }
        defer { X509_free(made) }
        guard fill(made), add(extensions, to: made), name(made, issuer), sign(made, key) else {
            throw LibCrypto.failure(Self.what)
        }
        guard let encoded = Certificate.derEncoding(of: made) else { throw LibCrypto.failure(Self.what) }
        return try Certificate(decoding: encoded)
    }

    private func fill(_ certificate: OpaquePointer) -> Bool {
        // Version 3 is the number 2.
        guard X509_set_version(certificate, 2) == 1 else { return false }
        guard let number = BN_bin2bn(serialNumber, CInt(serialNumber.count), nil) else { return false }
        defer { BN_free(number) }
        guard BN_to_ASN1_INTEGER(number, X509_get_serialNumber(certificate)) != nil else { return false }
        guard let end = ASN1_TIME_new() else { return false }
        defer { ASN1_TIME_free(end) }
        guard ASN1_TIME_set(X509_getm_notBefore(certificate), time_t(clamping: notBefore)) != nil,
            ASN1_TIME_set_string_X509(end, Self.forever) == 1, X509_set1_notAfter(certificate, end) == 1,
            let key = publicKey.withUnsafeBytes(LibCryptoKey.decode(publicKey:))
        else { return false }
        return key.withPointer { X509_set_pubkey(certificate, $0) } == 1
    }

    private func name(_ certificate: OpaquePointer, _ issuer: Certificate?) -> Bool {
        let subject = X509_get_subject_name(certificate)
        let text = Array(commonName.utf8)
        guard
            X509_NAME_add_entry_by_NID(subject, NID_commonName, MBSTRING_UTF8, text, CInt(text.count), -1, 0) == 1
        else { return false }
        guard let issuer else { return X509_set_issuer_name(certificate, subject) == 1 }
        return issuer.withPointer { above in
            if let start = X509_get0_notBefore(above), ASN1_TIME_compare(X509_get0_notBefore(certificate), start) < 0,
                X509_set1_notBefore(certificate, start) != 1
            {
                return false
            }
            return X509_set_issuer_name(certificate, X509_get_subject_name(above)) == 1
        }
    }

    private func add(_ extensions: [Extension], to certificate: OpaquePointer) -> Bool {
        extensions.allSatisfy { item in item.withPointer { X509_add_ext(certificate, $0, -1) == 1 } }
    }

    private func sign(_ certificate: OpaquePointer, _ key: SigningKey) -> Bool {
        key.key.withPointer { X509_sign(certificate, $0, key.digest) } > 0
    }
}

extension CertificateContents.Extension {
    /// Calls `body` with libcrypto's object; returns false if there is none. X509_EXTENSION_create_by_OBJ(3)
    func withPointer(_ body: (OpaquePointer) -> Bool) -> Bool {
        guard let object = OBJ_txt2obj(identifier, 1) else { return false }
        defer { ASN1_OBJECT_free(object) }
        guard let content = ASN1_OCTET_STRING_new() else { return false }
        defer { ASN1_OCTET_STRING_free(content) }
        guard ASN1_OCTET_STRING_set(content, value, CInt(value.count)) == 1,
            let made = X509_EXTENSION_create_by_OBJ(nil, object, isCritical ? 1 : 0, content)
        else { return false }
        defer { X509_EXTENSION_free(made) }
        return body(made)
    }
}
