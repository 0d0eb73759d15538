/// TPM_CC: the commands that we use. TPM 2.0 Library, Part 2, 6.5.2
enum CommandCode: UInt32 {
    case evictControl = 0x120
    case nvUndefineSpace = 0x122
    case nvDefineSpace = 0x12a
    case createPrimary = 0x131
    case nvIncrement = 0x134
    case nvWrite = 0x137
    case nvWriteLock = 0x138
    case activateCredential = 0x147
    case certify = 0x148
    case certifyCreation = 0x14a
    case nvRead = 0x14e
    case policySecret = 0x151
    case create = 0x153
    case load = 0x157
    case quote = 0x158
    case unseal = 0x15e
    case flushContext = 0x165
    case nvReadPublic = 0x169
    case readPublic = 0x173
    case startAuthSession = 0x176
    case getCapability = 0x17a
    case pcrRead = 0x17e
    case policyPCR = 0x17f
    case readClock = 0x181
    case nvCertify = 0x184
    case policyGetDigest = 0x189

    /// The command's name in the specification, for errors.
    var name: String {
        switch self {
        case .evictControl: "TPM2_EvictControl"
        case .nvUndefineSpace: "TPM2_NV_UndefineSpace"
        case .nvDefineSpace: "TPM2_NV_DefineSpace"
        case .createPrimary: "TPM2_CreatePrimary"
        case .nvIncrement: "TPM2_NV_Increment"
        case .nvWrite: "TPM2_NV_Write"
        case .nvWriteLock: "TPM2_NV_WriteLock"
        case .activateCredential: "TPM2_ActivateCredential"
        case .certify: "TPM2_Certify"
        case .certifyCreation: "TPM2_CertifyCreation"
        case .policySecret: "TPM2_PolicySecret"
        case .nvRead: "TPM2_NV_Read"
        case .create: "TPM2_Create"
        case .load: "TPM2_Load"
        case .nvCertify: "TPM2_NV_Certify"
        case .quote: "TPM2_Quote"
        case .unseal: "TPM2_Unseal"
        case .flushContext: "TPM2_FlushContext"
        case .nvReadPublic: "TPM2_NV_ReadPublic"
        case .readPublic: "TPM2_ReadPublic"
        case .startAuthSession: "TPM2_StartAuthSession"
        case .getCapability: "TPM2_GetCapability"
        case .pcrRead: "TPM2_PCR_Read"
        case .policyPCR: "TPM2_PolicyPCR"
        case .readClock: "TPM2_ReadClock"
        case .policyGetDigest: "TPM2_PolicyGetDigest"
        }
    }
}

/// TPM_ST. Part 2, 6.9
enum StructureTag {
    static let noSessions: UInt16 = 0x8001
    static let sessions: UInt16 = 0x8002
}

/// TPM_HANDLE. Part 2, 7; the storage key's handle: TCG TPM v2.0 Provisioning Guidance, 7.8
enum Handle {
    static let owner: UInt32 = 0x4000_0001
    static let null: UInt32 = 0x4000_0007
    static let endorsement: UInt32 = 0x4000_000b
    static let platform: UInt32 = 0x4000_000c
    static let passwordSession: UInt32 = 0x4000_0009
    static let storageKey: UInt32 = 0x8100_0001

    /// The highest byte of an NV index's handle.
    static let nvType: UInt32 = 0x01
    /// The highest byte of a persistent object's handle.
    static let persistentType: UInt32 = 0x81
    /// The highest byte of a transient object's handle.
    static let transientType: UInt32 = 0x80
    /// The highest bytes of the handles of HMAC and policy sessions.
    static let sessionTypes: ClosedRange<UInt32> = 0x02...0x03

    static func type(of handle: UInt32) -> UInt32 { handle >> 24 }

    static func text(_ handle: UInt32) -> String {
        let digits = String(handle, radix: 16)
        return "0x" + String(repeating: "0", count: 8 - digits.count) + digits
    }
}

/// TPM_ALG_ID. Part 2, 6.3
enum Algorithm {
    static let rsa: UInt16 = 0x0001
    static let aes: UInt16 = 0x0006
    static let keyedHash: UInt16 = 0x0008
    static let sha256: UInt16 = 0x000b
    static let null: UInt16 = 0x0010
    static let rsassa: UInt16 = 0x0014
    static let ecdsa: UInt16 = 0x0018
    static let ecc: UInt16 = 0x0023
    static let cfb: UInt16 = 0x0043
    // TPM_ECC_NIST_P256 of TPM_ECC_CURVE, Part 2, 6.4
    static let p256: UInt16 = 0x0003
}

/// TPMA_OBJECT. Part 2, 8.3
struct ObjectAttributes: OptionSet {
    let rawValue: UInt32

    static let fixedTPM = ObjectAttributes(rawValue: 1 << 1)
    static let fixedParent = ObjectAttributes(rawValue: 1 << 4)
    static let sensitiveDataOrigin = ObjectAttributes(rawValue: 1 << 5)
    static let userWithAuth = ObjectAttributes(rawValue: 1 << 6)
    static let adminWithPolicy = ObjectAttributes(rawValue: 1 << 7)
    static let noDA = ObjectAttributes(rawValue: 1 << 10)
    static let restricted = ObjectAttributes(rawValue: 1 << 16)
    static let decrypt = ObjectAttributes(rawValue: 1 << 17)
    static let sign = ObjectAttributes(rawValue: 1 << 18)
}

/// TPMA_NV. Part 2, 13.4
struct NVAttributes: OptionSet {
    let rawValue: UInt32

    static let platformWrite = NVAttributes(rawValue: 1 << 0)
    static let authWrite = NVAttributes(rawValue: 1 << 2)
    /// TPM_NT_COUNTER in TPMA_NV's TPM_NT field, bits 4 to 7.
    static let counter = NVAttributes(rawValue: 1 << 4)
    static let writeLocked = NVAttributes(rawValue: 1 << 11)
    static let writeDefine = NVAttributes(rawValue: 1 << 13)
    static let platformRead = NVAttributes(rawValue: 1 << 16)
    static let ownerRead = NVAttributes(rawValue: 1 << 17)
    static let authRead = NVAttributes(rawValue: 1 << 18)
    static let noDA = NVAttributes(rawValue: 1 << 25)
    static let written = NVAttributes(rawValue: 1 << 29)
    static let platformCreate = NVAttributes(rawValue: 1 << 30)
}

/// TPMA_SESSION. Part 2, 8.4
struct SessionAttributes: OptionSet {
    let rawValue: UInt8

    static let continueSession = SessionAttributes(rawValue: 1 << 0)
    /// Set if the first parameter of the command is encrypted.
    static let decrypt = SessionAttributes(rawValue: 1 << 5)
    /// Set if the first parameter of the response is to be encrypted.
    static let encrypt = SessionAttributes(rawValue: 1 << 6)
    static let audit = SessionAttributes(rawValue: 1 << 7)
}
