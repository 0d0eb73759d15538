import Platform

/// A key that a TPM has at a fixed handle, as one that is bought has.
///
/// It is a primary key: the TPM's seed and the template give the same key each time. ``template`` has the templates.
public enum StandardKey: UInt8, CaseIterable, Sendable {
    /// The endorsement key for RSA 2048, at 0x81010001.
    case endorsementRSA = 0
    /// The endorsement key for ECC NIST P-256, at 0x8101000a.
    case endorsementP256 = 1
    /// The storage root key, RSA 2048, at 0x81000001.
    case storageRSA = 2
    /// The endorsement key for RSA 3072, at 0x8101001c.
    case endorsementRSA3072 = 3
    /// The endorsement key for ECC NIST P-384, at 0x81010016.
    case endorsementP384 = 4
    /// The initial attestation key (IAK), ECC NIST P-384, at 0x81020001.
    case attestationP384 = 5
    /// The initial device identity (IDevID), ECC NIST P-384, at 0x81020000.
    case deviceIdentityP384 = 6
    /// The endorsement key for ECC NIST P-256 once more, at 0x81010002, where go-attestation and go-tpm-tools look for it.
    case secondP256 = 7
    /// An attestation key for RSA 2048 at 0x81010002, where Trustee's guest components look for it.
    case attestationRSA = 8

    /// The key's name in the configuration and in the log.
    public var name: String {
        switch self {
        case .endorsementRSA: "ek-rsa-2048"
        case .endorsementP256: "ek-p256"
        case .storageRSA: "srk-rsa-2048"
        case .endorsementRSA3072: "ek-rsa-3072"
        case .endorsementP384: "ek-p384"
        case .attestationP384: "iak-p384"
        case .deviceIdentityP384: "idevid-p384"
        case .secondP256: "ecc-ek"
        case .attestationRSA: "attestation-key"
        }
    }

    /// The persistent handle at which others look for the key.
    ///
    /// TCG Registry of Reserved TPM 2.0 Handles and Localities, 2.3; TCG TPM 2.0 Keys for Device Identity and Attestation.
    public var handle: UInt32 {
        switch self {
        case .endorsementRSA: 0x8101_0001
        case .endorsementP256: 0x8101_000a
        case .storageRSA: 0x8100_0001
        case .endorsementRSA3072: 0x8101_001c
        case .endorsementP384: 0x8101_0016
        case .attestationP384: 0x8102_0001
        case .deviceIdentityP384: 0x8102_0000
        case .secondP256, .attestationRSA: 0x8101_0002
        }
    }

    /// The hierarchy whose seed the key is derived from: TPM_RH_ENDORSEMENT or TPM_RH_OWNER.
    public var hierarchy: UInt32 { self == .storageRSA ? 0x4000_0001 : TPMCommand.endorsement }

    /// Whether it is an endorsement key, and has that key's own place.
    public var isEndorsement: Bool {
        switch self {
        case .endorsementRSA, .endorsementP256, .endorsementRSA3072, .endorsementP384: true
        default: false
        }
    }

    /// Whether it is the initial attestation key or the initial device identity.
    public var isDeviceIdentity: Bool { self == .attestationP384 || self == .deviceIdentityP384 }

    /// Whether the host records the key, and has it certified.
    public var isRecorded: Bool { isEndorsement || isDeviceIdentity }
}

/// A set of the keys that a TPM is to have.
public struct StandardKeys: OptionSet, Sendable {
    /// One bit for each key.
    public let rawValue: UInt16

    /// Creates a set from its bits, some of which may stand for no key.
    public init(rawValue: UInt16) { self.rawValue = rawValue }

    /// Creates a set of one key.
    public init(_ key: StandardKey) { rawValue = 1 << UInt16(key.rawValue) }

    /// What a TPM has by default: the endorsement keys that everybody looks for, and the storage root key.
    public static let standard = StandardKeys(rawValue: 0b111)

    /// All keys, more than one TPM can have.
    public static let known = StandardKeys(rawValue: 0b1_1111_1111)

    /// How many persistent objects a TPM has room for in any case. libtpms: MIN_EVICT_OBJECTS
    public static let limit = 7

    /// The keys, in the order in which a TPM makes them.
    public var elements: [StandardKey] { StandardKey.allCases.filter { contains(StandardKeys($0)) } }

    /// Whether each bit stands for a key.
    public var isKnown: Bool { isSubset(of: .known) }
}
