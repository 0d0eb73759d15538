import Platform

/// What a primary key is made from, and how its public area begins. TPM 2.0 Library, Part 2, 12.2.4
///
/// The templates are those that verifiers, drivers and tools make the same keys from: TCG EK Credential Profile for TPM Family
/// 2.0, B.3 and B.4, L-1, L-2 and those of the high range; TCG TPM v2.0 Provisioning Guidance, 7.5.1; TCG TPM 2.0 Keys for
/// Device Identity and Attestation, H-3.
public struct KeyTemplate: Sendable {
    /// The kind of the public key.
    enum Form: Equatable {
        /// RSA with this many bits.
        case rsa(bits: Int)
        /// ECC on a curve, TPM_ECC_CURVE, whose coordinates have this many bytes.
        case ecc(curve: UInt16, size: Int)
    }

    /// What the unique field of the template has.
    enum Unique {
        /// As many zeros as the key is long.
        case zeros
        /// Nothing, or this in its first part.
        case text(String)
    }

    let form: Form
    /// TPM_ALG_ID of the digest by which the key has its name.
    public let nameAlgorithm: UInt16
    /// TPMA_OBJECT.
    let attributes: UInt32
    let policy: [UInt8]
    /// The bits of the AES key that protects what the key is the parent of; 0 for a key that signs.
    public let symmetricBits: UInt16
    /// TPM_ALG_ID of the scheme; it signs with ``nameAlgorithm``.
    let scheme: UInt16
    let unique: Unique

    /// TPM_ALG_SHA256.
    public static let sha256: UInt16 = 0x000b
    /// TPM_ALG_SHA384.
    public static let sha384: UInt16 = 0x000c
    static let null: UInt16 = 0x0010
    private static let rsassa: UInt16 = 0x0014
    private static let ecdsa: UInt16 = 0x0018
    private static let p256 = Form.ecc(curve: 0x0003, size: 32)
    private static let p384 = Form.ecc(curve: 0x0004, size: 48)

    // TPMA_OBJECT. All are fixed to the TPM and its hierarchy, and have a secret that the TPM has made.
    /// Restricted, decrypts, administered by its policy, and in the high range used by its authorization as well.
    private static let lowEndorsement: UInt32 = 0x0003_00b2
    private static let highEndorsement: UInt32 = 0x0003_00f2
    /// Restricted, decrypts, used by its authorization; no failed one counts.
    private static let storage: UInt32 = 0x0003_0472
    /// Restricted or not, signs, used by its authorization and administered by its policy.
    private static let initialAttestation: UInt32 = 0x0005_00f2
    private static let deviceIdentity: UInt32 = 0x0004_00f2
    /// Restricted, signs, used by its authorization; no failed one counts.
    private static let attestation: UInt32 = 0x0005_0472

    /// An endorsement key of the profile's low range.
    private static func endorsement(_ form: Form) -> KeyTemplate {
        KeyTemplate(form, sha256, lowEndorsement, KeyPolicy.endorsement, symmetricBits: 128, unique: .zeros)
    }

    /// An endorsement key of the profile's high range.
    private static func highEndorsement(_ form: Form) -> KeyTemplate {
        KeyTemplate(form, sha384, highEndorsement, KeyPolicy.highEndorsement, symmetricBits: 256)
    }

    init(_ key: StandardKey) {
        switch key {
        case .endorsementRSA: self = Self.endorsement(.rsa(bits: 2048))
        case .endorsementP256, .secondP256: self = Self.endorsement(Self.p256)
        case .storageRSA:
            self.init(.rsa(bits: 2048), Self.sha256, Self.storage, [], symmetricBits: 128, unique: .zeros)
        case .endorsementRSA3072: self = Self.highEndorsement(.rsa(bits: 3072))
        case .endorsementP384: self = Self.highEndorsement(Self.p384)
        case .attestationP384:
            let policy = KeyPolicy.initialAttestation
            self.init(
                Self.p384,
                Self.sha384,
                Self.initialAttestation,
                policy,
                scheme: Self.ecdsa,
                unique: .text("IAK")
            )
        case .deviceIdentityP384:
            let policy = KeyPolicy.deviceIdentity
            self.init(
                Self.p384,
                Self.sha384,
                Self.deviceIdentity,
                policy,
                scheme: Self.ecdsa,
                unique: .text("IDEVID")
            )
        case .attestationRSA: self.init(.rsa(bits: 2048), Self.sha256, Self.attestation, [], scheme: Self.rsassa)
        }
    }

    private init(
        _ form: Form,
        _ nameAlgorithm: UInt16,
        _ attributes: UInt32,
        _ policy: [UInt8],
        symmetricBits: UInt16 = 0,
        scheme: UInt16 = null,
        unique: Unique = .text("")
    ) {
        self.form = form
        self.nameAlgorithm = nameAlgorithm
        self.attributes = attributes
        self.policy = policy
        self.symmetricBits = symmetricBits
        self.scheme = scheme
        self.unique = unique
    }

    /// Whether it is a key of RSA, and not of ECC.
    public var isRSA: Bool { if case .rsa = form { true } else { false } }

    /// Whether the empty authorization is enough to use the key; one of the low range is used by its policy alone.
    public var isUsedByAuthorization: Bool { attributes & 0x40 != 0 }

    /// The template up to the public key itself, with which the public area of the key begins as well.
    public var head: [UInt8] {
        let (rsa, ecc, aes, cfb): (UInt16, UInt16, UInt16, UInt16) = (0x0001, 0x0023, 0x0006, 0x0043)
        var area = ByteWriter(capacity: 128)
        area.write(isRSA ? rsa : ecc)
        area.write(nameAlgorithm)
        area.write(attributes)
        area.write(UInt16(policy.count))
        area.write(policy)
        if symmetricBits == 0 {
            area.write(Self.null)
        } else {
            for value in [aes, symmetricBits, cfb] { area.write(value) }
        }
        area.write(scheme)
        if scheme != Self.null { area.write(nameAlgorithm) }
        switch form {
        case .rsa(let bits):
            area.write(UInt16(bits))
            // Zero stands for the default exponent.
            area.write(UInt32(0))
        case .ecc(let curve, _):
            // The scheme of a key derivation is none.
            for value in [curve, Self.null] { area.write(value) }
        }
        return area.bytes
    }

    /// The number of the parts of the public key: the modulus, or the coordinates.
    public var partCount: Int { isRSA ? 1 : 2 }

    /// The size of each part, in bytes.
    public var partSize: Int {
        switch form {
        case .rsa(let bits): bits / 8
        case .ecc(_, let size): size
        }
    }

    /// The template, a TPMT_PUBLIC.
    public var bytes: [UInt8] {
        var area = ByteWriter(capacity: 448)
        area.write(head)
        for part in 0..<partCount {
            switch unique {
            case .zeros:
                area.write(UInt16(partSize))
                area.write([UInt8](repeating: 0, count: partSize))
            case .text(let text):
                // The second coordinate is empty, as swtpm_setup has it.
                area.write(UInt16(part == 0 ? text.utf8.count : 0))
                if part == 0 { area.write(text.utf8) }
            }
        }
        return area.bytes
    }
}

extension StandardKey {
    /// What the key is made from.
    public var template: KeyTemplate { KeyTemplate(self) }
}

/// The policies of keys, by their digests.
private enum KeyPolicy {
    /// PolicyA with SHA-256: TPM2_PolicySecret with the endorsement hierarchy.
    static let endorsement: [UInt8] = [
        0x83, 0x71, 0x97, 0x67, 0x44, 0x84, 0xb3, 0xf8, 0x1a, 0x90, 0xcc, 0x8d, 0x46, 0xa5, 0xd7, 0x24,
        0xfd, 0x52, 0xd7, 0x6e, 0x06, 0x52, 0x0b, 0x64, 0xf2, 0xa1, 0xda, 0x1b, 0x33, 0x14, 0x69, 0xaa,
    ]

    /// PolicyB with SHA-384: PolicyA, or what an NV index of the owner's authorizes.
    static let highEndorsement: [UInt8] = [
        0xb2, 0x6e, 0x7d, 0x28, 0xd1, 0x1a, 0x50, 0xbc, 0x53, 0xd8, 0x82, 0xbc, 0xf5, 0xfd, 0x3a, 0x1a,
        0x07, 0x41, 0x48, 0xbb, 0x35, 0xd3, 0xb4, 0xe4, 0xcb, 0x1c, 0x0a, 0xd9, 0xbd, 0xe4, 0x19, 0xca,
        0xcb, 0x47, 0xba, 0x09, 0x69, 0x96, 0x46, 0x15, 0x0f, 0x9f, 0xc0, 0x00, 0xf3, 0xf8, 0x0e, 0x12,
    ]

    /// PolicyIAK with SHA-384, whose parts the TCG does not say.
    static let initialAttestation: [UInt8] = [
        0x12, 0x9d, 0x94, 0xeb, 0xf8, 0x45, 0x56, 0x65, 0x2c, 0x6e, 0xef, 0x43, 0xbb, 0xb7, 0x57, 0x51,
        0x2a, 0xc8, 0x7e, 0x52, 0xbe, 0x7b, 0x34, 0x9c, 0xa6, 0xce, 0x4d, 0x82, 0x6f, 0x74, 0x9f, 0xcf,
        0x67, 0x2f, 0x51, 0x71, 0x6c, 0x5c, 0xbb, 0x60, 0x5f, 0x31, 0x3b, 0xf3, 0x45, 0xaa, 0xb3, 0x12,
    ]

    /// PolicyIDevID with SHA-384.
    static let deviceIdentity: [UInt8] = [
        0x4d, 0xb1, 0xaa, 0x83, 0x6d, 0x0b, 0x56, 0x15, 0xdf, 0x6e, 0xe5, 0x3a, 0x40, 0xef, 0x70, 0xc6,
        0x1c, 0x21, 0x7f, 0x43, 0x03, 0xd4, 0x46, 0x95, 0x92, 0x59, 0x72, 0xbc, 0x92, 0x70, 0x06, 0xcf,
        0xa5, 0xcb, 0xdf, 0x6d, 0xc1, 0x8c, 0x4d, 0xbe, 0x32, 0x9b, 0x2f, 0x15, 0x42, 0xc3, 0xdd, 0x33,
    ]
}
