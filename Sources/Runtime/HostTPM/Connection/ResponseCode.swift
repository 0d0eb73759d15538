/// The response code of a command, TPM_RC. TPM 2.0 Library, Part 2, 6.6
struct ResponseCode: Equatable, CustomStringConvertible {
    /// The number, as received.
    let rawValue: UInt32

    /// The number without the layer and without the number of the parameter, handle or session.
    var base: UInt32 {
        // Bits 12 and up name the layer: the kernel's resource manager sets 11 << 16 (linux: TSS2_RESMGR_TPM_RC_LAYER).
        let code = rawValue & 0xfff
        return code & Self.formatOne == 0 ? code : code & (Self.formatOne | 0x3f)
    }

    init(_ rawValue: UInt32) {
        self.rawValue = rawValue
    }

    private static let formatOne: UInt32 = 0x80

    static let success = ResponseCode(0)
    static let nvDefined = ResponseCode(0x14c)
    static let nvSpace = ResponseCode(0x14b)
    static let handle = ResponseCode(0x08b)
    static let authFail = ResponseCode(0x08e)
    static let badAuth = ResponseCode(0x0a2)

    /// Returns whether two codes have the same ``base``, whatever the parameter, handle or session.
    func isSame(as other: ResponseCode) -> Bool { base == other.base }

    /// Whether the same command can succeed soon: the TPM tests itself, was interrupted, or limits its NV writes.
    var asksForAnotherTry: Bool {
        // TPM_RC_YIELDED, TPM_RC_TESTING, TPM_RC_NV_RATE, TPM_RC_RETRY
        [0x908, 0x90a, 0x920, 0x922].contains(base)
    }

    /// The name and the number: `TPM_RC_POLICY_FAIL (0x99d)`.
    var description: String {
        let number = "0x" + String(rawValue, radix: 16)
        guard let name = Self.names[base] else { return "TPM_RC \(number)" }
        return "TPM_RC_\(name) (\(number))"
    }

    /// A hint for the operator; nil if there is none for this error.
    var hint: String? {
        switch base {
        case 0x100: "the TPM was not started up: boot the host again"
        case 0x101: "the TPM has failed: switch the host off and on"
        case 0x120: "the TPM or its hierarchy is switched off: enable it in the firmware"
        case 0x14b: "remove an NV index that nobody needs: tpm2_getcap handles-nv-index, tpm2_nvundefine"
        case 0x902, 0x903, 0x904: "flush what others have left: tpm2_flushcontext -t, tpm2_flushcontext -l"
        case 0x921: "tpm2_dictionarylockout --clear-lockout"
        default: nil
        }
    }

    private static let names: [UInt32: String] = [
        // A TPM 1.2 responds to all commands of TPM 2.0 with this.
        0x01e: "BAD_TAG",
        // Format zero, errors.
        0x100: "INITIALIZE", 0x101: "FAILURE", 0x103: "SEQUENCE", 0x10b: "PRIVATE", 0x119: "HMAC", 0x120: "DISABLED",
        0x121: "EXCLUSIVE", 0x124: "AUTH_TYPE", 0x125: "AUTH_MISSING", 0x126: "POLICY", 0x127: "PCR",
        0x128: "PCR_CHANGED", 0x12d: "UPGRADE", 0x12e: "TOO_MANY_CONTEXTS", 0x12f: "AUTH_UNAVAILABLE",
        0x130: "REBOOT", 0x131: "UNBALANCED", 0x142: "COMMAND_SIZE", 0x143: "COMMAND_CODE", 0x144: "AUTHSIZE",
        0x145: "AUTH_CONTEXT", 0x146: "NV_RANGE", 0x147: "NV_SIZE", 0x148: "NV_LOCKED", 0x149: "NV_AUTHORIZATION",
        0x14a: "NV_UNINITIALIZED", 0x14b: "NV_SPACE", 0x14c: "NV_DEFINED", 0x150: "BAD_CONTEXT", 0x151: "CPHASH",
        0x152: "PARENT", 0x153: "NEEDS_TEST", 0x154: "NO_RESULT", 0x155: "SENSITIVE",
        // Format zero, warnings.
        0x901: "CONTEXT_GAP", 0x902: "OBJECT_MEMORY", 0x903: "SESSION_MEMORY", 0x904: "MEMORY",
        0x905: "SESSION_HANDLES", 0x906: "OBJECT_HANDLES", 0x907: "LOCALITY", 0x908: "YIELDED", 0x909: "CANCELED",
        0x90a: "TESTING", 0x910: "REFERENCE_H0", 0x911: "REFERENCE_H1", 0x912: "REFERENCE_H2", 0x913: "REFERENCE_H3",
        0x914: "REFERENCE_H4", 0x915: "REFERENCE_H5", 0x916: "REFERENCE_H6", 0x918: "REFERENCE_S0",
        0x919: "REFERENCE_S1", 0x91a: "REFERENCE_S2", 0x91b: "REFERENCE_S3", 0x91c: "REFERENCE_S4",
        0x91d: "REFERENCE_S5", 0x91e: "REFERENCE_S6", 0x920: "NV_RATE", 0x921: "LOCKOUT", 0x922: "RETRY",
        0x923: "NV_UNAVAILABLE",
        // Format one.
        0x081: "ASYMMETRIC", 0x082: "ATTRIBUTES", 0x083: "HASH", 0x084: "VALUE", 0x085: "HIERARCHY", 0x087: "KEY_SIZE",
        0x088: "MGF", 0x089: "MODE", 0x08a: "TYPE", 0x08b: "HANDLE", 0x08c: "KDF", 0x08d: "RANGE", 0x08e: "AUTH_FAIL",
        0x08f: "NONCE", 0x090: "PP", 0x092: "SCHEME", 0x095: "SIZE", 0x096: "SYMMETRIC", 0x097: "TAG",
        0x098: "SELECTOR", 0x09a: "INSUFFICIENT", 0x09b: "SIGNATURE", 0x09c: "KEY", 0x09d: "POLICY_FAIL",
        0x09f: "INTEGRITY", 0x0a0: "TICKET", 0x0a1: "RESERVED_BITS", 0x0a2: "BAD_AUTH", 0x0a3: "EXPIRED",
        0x0a4: "POLICY_CC", 0x0a5: "BINDING", 0x0a6: "CURVE", 0x0a7: "ECC_POINT",
    ]
}
