import Crypto
import CryptoCertificates
import CryptoPrimitives
import Platform
import RuntimeControl
import RuntimeHostTPM
import VTPMProxy

/// The certificate of a key by which a TPM is known, field by field.
///
/// TCG EK Credential Profile for TPM Family 2.0, 3; for device identities IEEE 802.1AR, 8, and TCG TPM 2.0 Keys for Device
/// Identity and Attestation.
///
/// Each value is the host's own or a constant of the library: none comes from the worker but the public key, whose private part
/// the worker has shown to have.
struct IdentityCertificate {
    let key: IdentityKey
    /// The TPM's UUID, 16 bytes.
    let instance: [UInt8]
    /// The time, in seconds since 1970.
    let time: UInt64
    /// The libtpms that has the TPM.
    let library: LibraryVersion
    /// Where verifiers find the list of revoked certificates; empty if nowhere.
    let listURL: String
    /// What the platform's certificate names, if it is that; nil for the key's own.
    var platform: PlatformName?

    /// What TPM2_GetCapability tells of a TPM of libtpms: TPM_PT_MANUFACTURER, and TPM_PT_VENDOR_STRING_1 to 4.
    private static let manufacturer = "id:49424D00"
    private static let model = "SW   TPM"

    /// Makes the certificate.
    func signed(by authority: CertifyingKey) throws(Failure) -> [UInt8] {
        let contents = try CertificateContents(
            serialNumber: SerialNumber.random(),
            commonName: Hexadecimal.uuid(instance),
            notBefore: time,
            publicKey: key.publicKey,
            extensions: [
                // No authority.
                .init(Identifier.basicConstraints, isCritical: true, DER.element(DER.sequence, [])),
                .init(Identifier.keyUsage, isCritical: true, keyUsage),
            ] + ownExtensions + distributionPoint + [
                .init(
                    Identifier.authorityKeyIdentifier,
                    isCritical: false,
                    DER.element(DER.sequence, DER.element(0x80, authority.certificate.subjectKeyID))
                )
            ]
        )
        return try authority.sign(contents).encoded
    }

    /// An endorsement key decrypts, by itself with RSA and by an agreement with ECC; a device identity signs.
    private var keyUsage: [UInt8] {
        if key.kind.standard.isDeviceIdentity { return KeyUsage.digitalSignature }
        return key.kind.standard.template.isRSA ? KeyUsage.keyEncipherment : KeyUsage.keyAgreement
    }

    private var endorsementExtensions: [CertificateContents.Extension] {
        [
            .init(Identifier.extendedKeyUsage, isCritical: false, Self.purpose),
            .init(Identifier.subjectAlternativeName, isCritical: false, alternativeName),
            .init(Identifier.subjectDirectoryAttributes, isCritical: false, specification),
        ]
    }

    /// Where the list of revoked certificates is. RFC 5280, 4.2.1.13
    private var distributionPoint: [CertificateContents.Extension] {
        guard !listURL.isEmpty else { return [] }
        let uri = DER.element(0x86, Array(listURL.utf8))
        // A distribution point by its full name.
        let point = DER.element(DER.sequence, DER.element(0xa0, DER.element(0xa0, uri)))
        return [.init(Identifier.distributionPoints, isCritical: false, DER.element(DER.sequence, point))]
    }

    private var ownExtensions: [CertificateContents.Extension] {
        if let platform { return platformExtensions(platform) }
        return key.kind.standard.isDeviceIdentity ? deviceExtensions : endorsementExtensions
    }

    /// The platform as a directory name, and the instance as a URI. TCG Platform Certificate Profile, 3.1
    private func platformExtensions(_ platform: PlatformName) -> [CertificateContents.Extension] {
        let names = Self.directoryName([
            (TCG.identifier(5, 1, 1), platform.manufacturer), (TCG.identifier(5, 1, 4), platform.model),
            (TCG.identifier(5, 1, 5), platform.version),
        ])
        return [
            .init(
                Identifier.extendedKeyUsage,
                isCritical: false,
                DER.element(DER.sequence, TCG.identifier(8, 2))
            ),
            .init(Identifier.subjectAlternativeName, isCritical: false, DER.element(DER.sequence, names + uri)),
        ]
    }

    private static func directoryName(_ names: [(type: [UInt8], value: String)]) -> [UInt8] {
        let attributes = names.flatMap { type, value in
            DER.element(DER.set, DER.element(DER.sequence, type + DER.text(value)))
        }
        return DER.element(0xa4, DER.element(DER.sequence, attributes))
    }

    private var uri: [UInt8] { DER.element(0x86, Array("urn:uuid:\(Hexadecimal.uuid(instance))".utf8)) }

    private var deviceExtensions: [CertificateContents.Extension] {
        [.init(Identifier.subjectAlternativeName, isCritical: false, hardwareModuleName)]
    }

    /// The purposes of a key's own certificate, ExtKeyUsageSyntax in DER; empty if it has none.
    static func purposes(of kind: IdentityKey.Kind) -> [UInt8] { kind.standard.isDeviceIdentity ? [] : purpose }

    /// The purpose of an endorsement key, tcg-kp-EKCertificate.
    private static let purpose = DER.element(DER.sequence, TCG.identifier(8, 1))

    /// The TPM's maker, model and version as a directory name, and the instance as a URI.
    ///
    /// It is not critical, since there is a subject; and Go's verifier takes one for unknown that has but a directory name.
    private var alternativeName: [UInt8] {
        let names = Self.directoryName([
            (TCG.identifier(2, 1), Self.manufacturer), (TCG.identifier(2, 2), Self.model),
            (TCG.identifier(2, 3), "id:" + TPMProduct(library).firmwareVersion),
        ])
        return DER.element(DER.sequence, names + uri)
    }

    /// The TPM as a hardware module, an otherName: its type is that of any TPM 2.0, its serial number the instance's UUID. RFC
    /// 4108, 5
    private var hardwareModuleName: [UInt8] {
        let identifier: [UInt8] = [0x06, 0x08, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x08, 0x04]
        let serialNumber = DER.element(DER.octetString, Array(Hexadecimal.uuid(instance).utf8))
        let module = DER.element(DER.sequence, TCG.identifier(1, 2) + serialNumber)
        let otherName = DER.element(0xa0, identifier + DER.element(0xa0, module))
        return DER.element(DER.sequence, otherName + uri)
    }

    /// tcg-at-tpmSpecification: the family, the level, the revision.
    private var specification: [UInt8] {
        let value = DER.text("2.0") + DER.unsigned([0]) + DER.unsigned([TPMProduct(library).revision])
        let attribute = TCG.identifier(2, 16) + DER.element(DER.set, DER.element(DER.sequence, value))
        return DER.element(DER.sequence, DER.element(DER.sequence, attribute))
    }
}

/// What a TPM of a version of libtpms tells of itself.
struct TPMProduct {
    /// TPM_PT_FIRMWARE_VERSION_1 in hexadecimal.
    let firmwareVersion: String
    /// TPM_PT_REVISION.
    let revision: UInt8

    /// libtpms: src/tpm2/TpmBuildSwitches.h and VendorString.h, FIRMWARE_V1 and TPM_SPEC_VERSION.
    init(_ library: LibraryVersion) {
        let isOld = library < LibraryVersion(0, 10, 0)
        firmwareVersion = isOld ? "20191023" : "20240125"
        revision = isOld ? 164 : 183
    }
}

/// The authority's own certificate: one that certifies endorsement keys, and no other authority.
enum AuthorityCertificate {
    static func make(for key: SigningKey, at time: UInt64) throws(Failure) -> [UInt8] {
        let publicKey = try key.publicKey
        // RFC 7093, 2, has the first 160 bits of a SHA-256; of the whole key, which its text leaves open as well.
        let keyID = Array(try SHA256.digest(publicKey).prefix(20))
        let name = Hexadecimal.encode(Array(keyID.prefix(8)))
        return try CertificateContents(
            serialNumber: SerialNumber.random(),
            commonName: "container-vtpm EK CA \(name)",
            notBefore: time,
            publicKey: publicKey,
            extensions: [
                .init(
                    Identifier.basicConstraints,
                    isCritical: true,
                    // An authority, with none below it.
                    DER.element(DER.sequence, [0x01, 0x01, 0xff] + DER.unsigned([0]))
                ),
                .init(Identifier.keyUsage, isCritical: true, KeyUsage.certificatesAndLists),
                .init(Identifier.subjectKeyIdentifier, isCritical: false, DER.element(DER.octetString, keyID)),
                .init(
                    Identifier.authorityKeyIdentifier,
                    isCritical: false,
                    DER.element(DER.sequence, DER.element(0x80, keyID))
                ),
            ]
        ).signed(by: key, nil).encoded
    }
}

/// An authority's key with its certificate.
struct CertifyingKey {
    /// Where the private key is.
    enum Place {
        /// In this process.
        case here(SigningKey)
        /// With a program of the operator's.
        case external(ExternalSigner)
    }

    let place: Place
    let certificate: Certificate
    /// What it has revoked.
    let revoked: [RevokedCertificate]

    init(_ place: Place, certificate: Certificate, revoked: [RevokedCertificate] = []) {
        self.place = place
        self.certificate = certificate
        self.revoked = revoked
    }

    /// Makes a certificate.
    func sign(_ contents: CertificateContents) throws(Failure) -> Certificate {
        switch place {
        case .here(let key): try contents.signed(by: key, certificate)
        case .external(let signer): try signer.certificate(contents, by: certificate)
        }
    }
}

private enum SerialNumber {
    /// Returns 158 random bits, which need no record and no lock to be unique. RFC 5280, 4.1.2.2
    static func random() throws(Failure) -> [UInt8] {
        var number = try Random.bytes(count: 20)
        number[0] = number[0] & 0x7f | 0x40
        return number
    }
}

/// KeyUsage. RFC 5280, 4.2.1.3
private enum KeyUsage {
    static let keyEncipherment: [UInt8] = DER.element(DER.bitString, [5, 0x20])
    static let digitalSignature: [UInt8] = DER.element(DER.bitString, [7, 0x80])
    static let keyAgreement: [UInt8] = DER.element(DER.bitString, [3, 0x08])
    static let certificatesAndLists: [UInt8] = DER.element(DER.bitString, [1, 0x06])
}

/// The extensions of RFC 5280, 4.2.
enum Identifier {
    static let subjectDirectoryAttributes = "2.5.29.9"
    static let subjectKeyIdentifier = "2.5.29.14"
    static let keyUsage = "2.5.29.15"
    static let subjectAlternativeName = "2.5.29.17"
    static let basicConstraints = "2.5.29.19"
    static let crlNumber = "2.5.29.20"
    static let distributionPoints = "2.5.29.31"
    static let authorityKeyIdentifier = "2.5.29.35"
    static let extendedKeyUsage = "2.5.29.37"
}

private enum TCG {
    /// Returns an OBJECT IDENTIFIER below 2.23.133 in DER.
    static func identifier(_ arcs: UInt8...) -> [UInt8] { DER.element(0x06, [0x67, 0x81, 0x05] + arcs) }
}
