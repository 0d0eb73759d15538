import Platform

// The commands of a TPM's self-test. TPM 2.0 Library, Part 3, 10
extension TPMCommand {
    /// TPM_CC_IncrementalSelfTest.
    public static let incrementalSelfTestCode: UInt32 = 0x142
    /// TPM_CC_SetCommandCodeAuditStatus.
    public static let setAuditedCommandsCode: UInt32 = 0x140
    /// TPM_CC_SelfTest.
    public static let selfTestCode: UInt32 = 0x143
    /// TPM_CC_Shutdown.
    public static let shutdownCode: UInt32 = 0x145
    /// TPM_CC_GetTestResult.
    public static let getTestResultCode: UInt32 = 0x17c

    /// TPM2_SelfTest(NO), of what has not been tested yet, as the kernel's driver has it executed. Part 3, 10.2
    public static let selfTest: [UInt8] = [0x80, 0x01, 0, 0, 0, 11, 0, 0, 0x01, 0x43, 0]

    /// TPM2_GetTestResult. Part 3, 10.4
    public static let getTestResult: [UInt8] = [0x80, 0x01, 0, 0, 0, 10, 0, 0, 0x01, 0x7c]

    /// TPM2_GetCapability that tells whether TPM2_IncrementalSelfTest is audited. Part 3, 30.2
    public static let getWhetherSelfTestIsAudited = getCapability(
        4,  // TPM_CAP_AUDIT_COMMANDS
        from: incrementalSelfTestCode,
        count: 1
    )

    /// Returns the TPM2_IncrementalSelfTest of one algorithm; of none if nil is given. Part 3, 10.3
    public static func incrementalSelfTest(of algorithm: UInt16?) -> [UInt8] {
        guard let algorithm else { return [0x80, 0x01, 0, 0, 0, 14, 0, 0, 0x01, 0x42, 0, 0, 0, 0] }
        return [
            0x80, 0x01, 0, 0, 0, 16, 0, 0, 0x01, 0x42, 0, 0, 0, 1,
            UInt8(algorithm >> 8), UInt8(algorithm & 0xff),
        ]
    }

    /// Returns a response to TPM2_GetTestResult, with no data and this result. Part 3, 10.4
    public static func testResult(_ code: UInt32) -> [UInt8] {
        [
            UInt8(noSessions >> 8), UInt8(noSessions & 0xff), 0, 0, 0, 16, 0, 0, 0, 0, 0, 0,
            UInt8(code >> 24), UInt8(code >> 16 & 0xff), UInt8(code >> 8 & 0xff), UInt8(code & 0xff),
        ]
    }

    /// Returns whether a session of a command audits it. Part 2, 8.4
    ///
    /// How many handles come before the sessions depends on the command. Any number is tried: a command that is none
    /// can be taken for an audited one, and never the other way round.
    public static func mayBeAuditedBySession(_ command: UnsafeRawBufferPointer) -> Bool {
        guard command.bigEndian(at: 0, as: UInt16.self) == sessions else { return false }
        return (0...3).contains { handles in hasAuditSession(command, areaAt: headerSize + 4 * handles) }
    }

    /// The bit `audit` of TPMA_SESSION.
    private static let auditAttribute: UInt8 = 0x80

    private static func hasAuditSession(_ command: UnsafeRawBufferPointer, areaAt start: Int) -> Bool {
        guard let size = command.bigEndian(at: start, as: UInt32.self), size <= command.count - start - 4 else {
            return false
        }
        let end = start + 4 + Int(size)
        var position = start + 4
        var isAudited = false
        // Each session: handle, nonce with its size, attributes, HMAC or password with its size.
        while position < end {
            guard let nonce = command.bigEndian(at: position + 4, as: UInt16.self) else { return false }
            let attributes = position + 6 + Int(nonce)
            guard attributes < end, let secret = command.bigEndian(at: attributes + 1, as: UInt16.self) else {
                return false
            }
            if command[attributes] & auditAttribute != 0 { isAudited = true }
            position = attributes + 3 + Int(secret)
        }
        return isAudited && position == end
    }
}
