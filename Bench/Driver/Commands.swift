import Platform

/// The TPM commands that are measured, and those that prepare for them. TPM 2.0 Library, Part 3
enum Commands {
    /// TPM2_GetRandom of 32 bytes.
    static let getRandom: [UInt8] = command(0x17b) { $0.write(UInt16(32)) }

    /// TPM2_PCR_Read of PCR 0 to 7, SHA-256.
    static let pcrRead: [UInt8] = command(0x17e) {
        $0.write(UInt32(1))
        $0.write(sha256)
        $0.write([3, 0xff, 0, 0])
    }

    /// TPM2_PCR_Extend of PCR 7, SHA-256.
    static let pcrExtend: [UInt8] = authorized(0x182, [7]) {
        $0.write(UInt32(1))
        $0.write(sha256)
        $0.write([UInt8](repeating: 1, count: 32))
    }

    /// TPM2_SelfTest of all algorithms.
    static let selfTest: [UInt8] = command(0x143) { $0.write(UInt8(1)) }

    /// TPM2_GetTestResult.
    static let getTestResult: [UInt8] = command(0x17c) { _ in }

    /// The NV index that is written and read.
    static let index: UInt32 = 0x0150_0001
    /// How many bytes it has.
    static let indexSize: UInt16 = 32

    /// TPM2_NV_DefineSpace of ``index``, which its owner may write and read.
    static let nvDefine: [UInt8] = authorized(0x12a, [owner]) {
        $0.write(UInt16(0))
        $0.write(UInt16(14))
        $0.write(index)
        $0.write(sha256)
        $0.write(UInt32(0x0002_0002))  // TPMA_NV_OWNERWRITE, TPMA_NV_OWNERREAD
        $0.write(UInt16(0))
        $0.write(indexSize)
    }

    /// TPM2_NV_Write of the whole index; libtpms stores nothing where the contents are the same, so that they are
    /// counted on.
    static func nvWrite(_ count: UInt64) -> [UInt8] {
        authorized(0x137, [owner, index]) {
            $0.write(indexSize)
            $0.write([UInt8](repeating: 0, count: Int(indexSize) - 8))
            $0.write(count)
            $0.write(UInt16(0))
        }
    }

    /// TPM2_NV_Read of the whole index.
    static let nvRead: [UInt8] = authorized(0x14e, [owner, index]) {
        $0.write(indexSize)
        $0.write(UInt16(0))
    }

    /// TPM2_CreatePrimary of a signing key, NIST P-256.
    static let createECCKey = createPrimary {
        $0.write(UInt16(0x23))
        $0.write(sha256)
        $0.write(signingKey)
        $0.write(UInt16(0))
        $0.write(words: [null, null, 3, null])
        $0.write(words: [0, 0])
    }

    /// TPM2_CreatePrimary of a signing key, RSA of 2048 bits.
    static let createRSAKey = createPrimary {
        $0.write(UInt16(1))
        $0.write(sha256)
        $0.write(signingKey)
        $0.write(UInt16(0))
        $0.write(words: [null, null, 2048])
        $0.write(UInt32(0))
        $0.write(UInt16(0))
    }

    /// TPM2_EvictControl, which gives a key a handle that stays.
    static func keep(_ key: UInt32, as handle: UInt32) -> [UInt8] {
        authorized(0x120, [owner, key]) { $0.write(handle) }
    }

    /// TPM2_FlushContext of a key.
    static func flush(_ key: UInt32) -> [UInt8] { command(0x165) { $0.write(key) } }

    /// TPM2_Sign of a digest, ECDSA with SHA-256.
    static func signECDSA(_ key: UInt32) -> [UInt8] { sign(key, scheme: 0x18) }

    /// TPM2_Sign of a digest, RSASSA with SHA-256.
    static func signRSASSA(_ key: UInt32) -> [UInt8] { sign(key, scheme: 0x14) }

    /// TPM2_ReadPublic of a handle.
    static func readPublic(_ handle: UInt32) -> [UInt8] { command(0x173) { $0.write(handle) } }

    /// The EK of RSA 2048 where the TCG wants it. TCG EK Credential Profile, 2.2.1.4
    static let endorsementKey: UInt32 = 0x8101_0001

    private static let owner: UInt32 = 0x4000_0001
    private static let sha256: UInt16 = 0x0b
    private static let null: UInt16 = 0x10
    // sign, noDA, userWithAuth, sensitiveDataOrigin, fixedParent, fixedTPM: swtpm ends without TPM2_Shutdown, which counts as
    // a failed authorization once a key has been used that is not noDA.
    private static let signingKey: UInt32 = 0x0004_0472

    private static func sign(_ key: UInt32, scheme: UInt16) -> [UInt8] {
        authorized(0x15d, [key]) {
            $0.write(UInt16(32))
            $0.write([UInt8](repeating: 7, count: 32))
            $0.write(words: [scheme, sha256])
            $0.write(UInt16(0x8024))  // no ticket: TPM_ST_HASHCHECK, TPM_RH_NULL
            $0.write(UInt32(0x4000_0007))
            $0.write(UInt16(0))
        }
    }

    private static func createPrimary(_ template: (inout ByteWriter) -> Void) -> [UInt8] {
        var area = ByteWriter()
        template(&area)
        return authorized(0x131, [owner]) {
            $0.write(words: [4, 0, 0])
            $0.write(UInt16(area.bytes.count))
            $0.write(area.bytes)
            $0.write(UInt16(0))
            $0.write(UInt32(0))
        }
    }

    private static func command(_ code: UInt32, tag: UInt16 = 0x8001, _ body: (inout ByteWriter) -> Void) -> [UInt8] {
        var content = ByteWriter()
        body(&content)
        var whole = ByteWriter()
        whole.write(tag)
        whole.write(UInt32(10 + content.bytes.count))
        whole.write(code)
        whole.write(content.bytes)
        return whole.bytes
    }

    /// With an empty password for the first handle.
    private static func authorized(
        _ code: UInt32,
        _ handles: [UInt32],
        _ body: (inout ByteWriter) -> Void
    ) -> [UInt8] {
        command(code, tag: 0x8002) {
            for handle in handles { $0.write(handle) }
            $0.write(UInt32(9))
            $0.write([0x40, 0, 0, 9, 0, 0, 0, 0, 0])
            body(&$0)
        }
    }
}

extension ByteWriter {
    fileprivate mutating func write(words values: [UInt16]) {
        for value in values { write(value) }
    }
}
