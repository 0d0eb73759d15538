import Platform

/// A key that a TPM has at a fixed handle, as one that is bought has.
///
/// It is a primary key: the TPM's seed and the template give the same key each time.
///
/// The templates are those that verifiers, drivers and tools make the same keys from: TCG EK Credential Profile for TPM Family
/// 2.0, B.3, L-1 and L-2; TCG TPM v2.0 Provisioning Guidance, 7.5.1.
public enum StandardKey: UInt8, CaseIterable, Sendable {
    /// The endorsement key for RSA 2048, at 0x81010001.
    case endorsementRSA = 0
    /// The endorsement key for ECC NIST P-256, at 0x8101000a.
    case endorsementP256 = 1
    /// The storage root key, RSA 2048, at 0x81000001.
    case storageRSA = 2

    /// The key's name in the configuration and in the log.
    public var name: String {
        switch self {
        case .endorsementRSA: "ek-rsa-2048"
        case .endorsementP256: "ek-p256"
        case .storageRSA: "srk-rsa-2048"
        }
    }

    /// The persistent handle at which others look for the key. TCG Registry of Reserved TPM 2.0 Handles and Localities, 2.3
    public var handle: UInt32 {
        switch self {
        case .endorsementRSA: 0x8101_0001
        case .endorsementP256: 0x8101_000a
        case .storageRSA: 0x8100_0001
        }
    }

    /// The hierarchy whose seed the key is derived from: TPM_RH_ENDORSEMENT or TPM_RH_OWNER.
    public var hierarchy: UInt32 {
        switch self {
        case .endorsementRSA, .endorsementP256: 0x4000_000b
        case .storageRSA: 0x4000_0001
        }
    }

    private var isRSA: Bool { self != .endorsementP256 }
    /// Whether it is an endorsement key, and not the storage root key.
    public var isEndorsement: Bool { self != .storageRSA }

    /// TPMA_OBJECT: fixedTPM, fixedParent, sensitiveDataOrigin, restricted, decrypt; an endorsement key is administered by its
    /// policy, the storage key is used by its authorization, and no failed one counts.
    private var attributes: UInt32 { isEndorsement ? 0x0003_00b2 : 0x0003_0472 }

    /// PolicyA with SHA-256: TPM2_PolicySecret with the endorsement hierarchy.
    private static let endorsementPolicy: [UInt8] = [
        0x83, 0x71, 0x97, 0x67, 0x44, 0x84, 0xb3, 0xf8, 0x1a, 0x90, 0xcc, 0x8d, 0x46, 0xa5, 0xd7, 0x24,
        0xfd, 0x52, 0xd7, 0x6e, 0x06, 0x52, 0x0b, 0x64, 0xf2, 0xa1, 0xda, 0x1b, 0x33, 0x14, 0x69, 0xaa,
    ]

    /// The template up to the public key itself, with which the public area of the key begins as well.
    public var head: [UInt8] {
        let (rsa, ecc, sha256): (UInt16, UInt16, UInt16) = (0x0001, 0x0023, 0x000b)
        let (aes, cfb, null, p256): (UInt16, UInt16, UInt16, UInt16) = (0x0006, 0x0043, 0x0010, 0x0003)
        var area = ByteWriter()
        area.write(isRSA ? rsa : ecc)
        area.write(sha256)
        area.write(attributes)
        let policy = isEndorsement ? Self.endorsementPolicy : []
        area.write(UInt16(policy.count))
        area.write(policy)
        // The symmetric algorithm that protects what the key is the parent of; no scheme.
        for value in [aes, 128, cfb, null] { area.write(value) }
        if isRSA {
            area.write(UInt16(2048))
            // Zero stands for the default exponent.
            area.write(UInt32(0))
        } else {
            for value in [p256, null] { area.write(value) }
        }
        return area.bytes
    }

    /// The number of the parts of the public key: the modulus, or the coordinates.
    public var partCount: Int { isRSA ? 1 : 2 }
    /// The size of each part, in bytes.
    public var partSize: Int { isRSA ? 256 : 32 }

    /// The template, a TPMT_PUBLIC whose unique field is zero. TPM 2.0 Library, Part 2, 12.2.4
    public var template: [UInt8] {
        var area = ByteWriter(capacity: 320)
        area.write(head)
        for _ in 0..<partCount {
            area.write(UInt16(partSize))
            area.write([UInt8](repeating: 0, count: partSize))
        }
        return area.bytes
    }
}

/// A set of the keys that a TPM is to have.
public struct StandardKeys: OptionSet, Sendable {
    /// One bit for each key.
    public let rawValue: UInt16

    /// Creates a set from its bits, some of which may stand for no key.
    public init(rawValue: UInt16) { self.rawValue = rawValue }

    /// Creates a set of one key.
    public init(_ key: StandardKey) { rawValue = 1 << UInt16(key.rawValue) }

    /// All keys: both endorsement keys and the storage root key.
    public static let all = StandardKeys(rawValue: 0b111)

    /// The keys, in the order in which a TPM makes them.
    public var elements: [StandardKey] { StandardKey.allCases.filter { contains(StandardKeys($0)) } }

    /// Whether each bit stands for a key.
    public var isKnown: Bool { isSubset(of: .all) }
}
