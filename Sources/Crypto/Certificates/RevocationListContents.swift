import CLibCrypto
import CryptoLibCrypto
import CryptoPrimitives
import Platform

/// What a list of revoked certificates is to say. RFC 5280, 5
public struct RevocationListContents {
    /// A revoked certificate.
    public struct Entry {
        /// The serial number, big-endian.
        let serialNumber: [UInt8]
        /// When it was revoked, in seconds since 1970.
        let time: UInt64

        /// Creates an entry.
        public init(serialNumber: [UInt8], time: UInt64) {
            self.serialNumber = serialNumber
            self.time = time
        }
    }

    /// When the list is made, in seconds since 1970.
    public var thisUpdate: UInt64
    /// When the next one is made at the latest, in seconds since 1970.
    public var nextUpdate: UInt64
    /// The revoked certificates.
    public var entries: [Entry]
    /// The extensions, in this order.
    public var extensions: [CertificateContents.Extension]

    private static let what = "cannot make a list of revoked certificates"

    /// Creates contents.
    public init(
        thisUpdate: UInt64,
        nextUpdate: UInt64,
        entries: [Entry],
        extensions: [CertificateContents.Extension]
    ) {
        self.thisUpdate = thisUpdate
        self.nextUpdate = nextUpdate
        self.entries = entries
        self.extensions = extensions
    }

    /// Makes the list in DER, signed by the key of the issuer's certificate. X509_CRL_sign(3)
    public func signed(by key: SigningKey, _ issuer: Certificate) throws(Failure) -> [UInt8] {
        guard let list = X509_CRL_new() else { throw LibCrypto.failure(Self.what) }
        defer { X509_CRL_free(list) }
        // Version 2 is the number 1.
        guard X509_CRL_set_version(list, 1) == 1,
            issuer.withPointer({ X509_CRL_set_issuer_name(list, X509_get_subject_name($0)) }) == 1,
            Self.withTime(thisUpdate, { X509_CRL_set1_lastUpdate(list, $0) == 1 }),
            Self.withTime(nextUpdate, { X509_CRL_set1_nextUpdate(list, $0) == 1 }),
            entries.allSatisfy({ Self.add($0, to: list) }),
            extensions.allSatisfy({ item in item.withPointer { X509_CRL_add_ext(list, $0, -1) == 1 } }),
            X509_CRL_sort(list) == 1,
            key.key.withPointer({ X509_CRL_sign(list, $0, key.digest) }) > 0
        else { throw LibCrypto.failure(Self.what) }
        let size = i2d_X509_CRL(list, nil)
        guard size > 0 else { throw LibCrypto.failure(Self.what) }
        var bytes = [UInt8](repeating: 0, count: Int(size))
        let written = bytes.withUnsafeMutableBytes { memory in
            var next = memory.unsigned
            return i2d_X509_CRL(list, &next)
        }
        guard written == size else { throw LibCrypto.failure(Self.what) }
        return bytes
    }

    private static func withTime(_ seconds: UInt64, _ body: (UnsafeMutablePointer<ASN1_TIME>) -> Bool) -> Bool {
        guard let time = ASN1_TIME_set(nil, time_t(clamping: seconds)) else { return false }
        defer { ASN1_TIME_free(time) }
        return body(time)
    }

    private static func add(_ entry: Entry, to list: OpaquePointer) -> Bool {
        guard let revoked = X509_REVOKED_new() else { return false }
        let isMade =
            withInteger(entry.serialNumber) { X509_REVOKED_set_serialNumber(revoked, $0) == 1 }
            && withTime(entry.time) { X509_REVOKED_set_revocationDate(revoked, $0) == 1 }
        // On success the list has it. X509_CRL_add0_revoked(3)
        guard isMade, X509_CRL_add0_revoked(list, revoked) == 1 else {
            X509_REVOKED_free(revoked)
            return false
        }
        return true
    }

    private static func withInteger(_ bytes: [UInt8], _ body: (UnsafeMutablePointer<ASN1_INTEGER>) -> Bool) -> Bool {
        guard let number = BN_bin2bn(bytes, CInt(bytes.count), nil) else { return false }
        defer { BN_free(number) }
        guard let integer = BN_to_ASN1_INTEGER(number, nil) else { return false }
        defer { ASN1_INTEGER_free(integer) }
        return body(integer)
    }
}
