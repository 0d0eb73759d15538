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
    public var extendedKeyUsage: [UInt8] { extensionValue("2.5.29.37")?.value ?? [] }

    /// Returns an extension by its identifier in dotted decimals; nil if the certificate has none. X509_get_ext_by_OBJ(3)
    func extensionValue(_ identifier: String) -> (isCritical: Bool, value: [UInt8])? {
        guard let object = OBJ_txt2obj(identifier, 1) else { return nil }
        defer { ASN1_OBJECT_free(object) }
        return withPointer { certificate in
            let place = X509_get_ext_by_OBJ(certificate, object, -1)
            guard place >= 0, let item = X509_get_ext(certificate, place), let value = X509_EXTENSION_get_data(item)
            else { return nil }
            let bytes = UnsafeBufferPointer(
                start: ASN1_STRING_get0_data(value),
                count: Int(ASN1_STRING_length(value))
            )
            return (X509_EXTENSION_get_critical(item) == 1, Array(bytes))
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

extension Certificate {
    /// Returns in what a certificate that somebody else has signed is not what was asked for; nil if it is.
    ///
    /// The signer chooses the serial number, the time, and a few extensions that change nothing of what the certificate is for.
    /// `contents.notBefore` is now.
    public func difference(from contents: CertificateContents, signedBy issuer: Certificate) -> String? {
        guard (try? publicKey) == contents.publicKey else { return "of another key" }
        guard !isAuthority else { return "of an authority" }
        guard commonName == contents.commonName else { return "of another subject" }
        guard encoded.count <= Self.issuedLimit else { return "of more than \(Self.issuedLimit) bytes" }
        if let problem = formProblem(at: contents.notBefore) ?? extensionProblem(contents) { return problem }
        let isIssued = withPointer { own in issuer.withPointer { X509_check_issued($0, own) } } == X509_V_OK
        guard isIssued, isSigned(by: issuer) else { return "that is not signed by the authority's key" }
        return nil
    }

    /// The largest certificate that a TPM's NV index takes, in bytes. libtpms: MAX_NV_INDEX_SIZE
    private static let issuedLimit = 2048
    /// The least strength of a signature, in bits: SHA-1 has less. X509_get_signature_info(3)
    private static let leastStrength = 112

    private func formProblem(at now: UInt64) -> String? {
        withPointer { certificate in
            // Version 3 is the number 2.
            guard X509_get_version(certificate) == 2 else { return "that is not of version 3" }
            guard (1...20).contains(serialNumber.count), !hasNegativeSerialNumber else {
                return "without a positive serial number of at most 20 bytes"
            }
            // Clocks differ.
            var (early, late) = (time_t(clamping: now + 300), time_t(clamping: now))
            guard X509_cmp_time(X509_get0_notBefore(certificate), &early) < 0,
                X509_cmp_time(X509_get0_notAfter(certificate), &late) > 0
            else { return "that is not valid now" }
            var strength: CInt = 0
            guard X509_get_signature_info(certificate, nil, nil, &strength, nil) == 1, strength >= Self.leastStrength
            else { return "with a weak signature" }
            return nil
        }
    }

    private var hasNegativeSerialNumber: Bool {
        withPointer { certificate in
            guard let number = ASN1_INTEGER_to_BN(X509_get0_serialNumber(certificate), nil) else { return true }
            defer { BN_free(number) }
            return BN_is_negative(number) != 0
        }
    }

    /// The extensions that a signer may add, unless they are critical: subject key identifier, certificate policies, authority
    /// information access.
    private static let harmless: Set<String> = ["2.5.29.14", "2.5.29.32", "1.3.6.1.5.5.7.1.1"]

    private func extensionProblem(_ contents: CertificateContents) -> String? {
        for item in contents.extensions {
            guard let found = extensionValue(item.identifier), found.isCritical == item.isCritical,
                found.value == item.value
            else { return "whose extension \(item.identifier) is another" }
        }
        let asked = Set(contents.extensions.map { $0.identifier })
        var seen: Set<String> = []
        for (identifier, isCritical) in extensions {
            guard asked.contains(identifier) || Self.harmless.contains(identifier) && !isCritical else {
                return "with the extension \(identifier), which nobody asked for"
            }
            guard seen.insert(identifier).inserted else { return "that has the extension \(identifier) twice" }
        }
        return nil
    }

    /// All extensions: the identifier in dotted decimals, and whether it is critical. X509_get_ext(3)
    private var extensions: [(identifier: String, isCritical: Bool)] {
        withPointer { certificate in
            (0..<X509_get_ext_count(certificate)).map { place in
                let item = X509_get_ext(certificate, place)
                var text = [CChar](repeating: 0, count: 128)
                OBJ_obj2txt(&text, CInt(text.count), X509_EXTENSION_get_object(item), 1)
                let bytes = text.prefix { $0 != 0 }.map { UInt8(truncatingIfNeeded: $0) }
                return (String(decoding: bytes, as: UTF8.self), X509_EXTENSION_get_critical(item) == 1)
            }
        }
    }

    /// The only common name of the subject; nil if there is none, or another field. X509_NAME_get_entry(3)
    private var commonName: String? {
        withPointer { certificate in
            let subject = X509_get_subject_name(certificate)
            guard X509_NAME_entry_count(subject) == 1, let entry = X509_NAME_get_entry(subject, 0),
                OBJ_obj2nid(X509_NAME_ENTRY_get_object(entry)) == NID_commonName,
                let text = X509_NAME_ENTRY_get_data(entry)
            else { return nil }
            let bytes = UnsafeBufferPointer(start: ASN1_STRING_get0_data(text), count: Int(ASN1_STRING_length(text)))
            return String(decoding: bytes, as: UTF8.self)
        }
    }
}
