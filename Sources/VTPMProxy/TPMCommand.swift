import CLinux
import Platform

/// The part of the TPM 2.0 wire format that this project uses itself.
///
/// TPM 2.0 Library, Part 1, 18, and Part 2, 6.
public enum TPMCommand {
    /// TPM_ST_NO_SESSIONS.
    public static let noSessions: UInt16 = 0x8001
    /// TPM_ST_SESSIONS.
    public static let sessions: UInt16 = 0x8002
    /// Bytes of a command's or a response's header: tag, size, code.
    public static let headerSize = 10

    /// TPM_RC_FAILURE: the TPM is in failure mode.
    public static let failure: UInt32 = 0x101
    /// TPM_RC_RETRY: the command was not executed, and should be sent again.
    public static let retry: UInt32 = 0x922
    /// TPM_RC_SUCCESS.
    public static let success: UInt32 = 0
    /// TPM_RC_TESTING: the TPM is testing itself.
    public static let testing: UInt32 = 0x90a

    /// Returns a response that consists of a response code.
    public static func response(code: UInt32) -> [UInt8] {
        [
            UInt8(noSessions >> 8), UInt8(noSessions & 0xff), 0, 0, 0, UInt8(headerSize),
            UInt8(code >> 24), UInt8(code >> 16 & 0xff), UInt8(code >> 8 & 0xff), UInt8(code & 0xff),
        ]
    }

    /// Returns the response code of a response, or nil if it is shorter than a header.
    public static func responseCode(of response: UnsafeRawBufferPointer) -> UInt32? { response.bigEndian(at: 6) }

    /// Returns the command code of a command, or nil if it is shorter than a header.
    public static func code(of command: UnsafeRawBufferPointer) -> UInt32? { command.bigEndian(at: 6) }

    /// TPM2_Startup(TPM_SU_CLEAR). Part 3, 9.3
    public static let startupClear: [UInt8] = [0x80, 0x01, 0, 0, 0, 12, 0, 0, 0x01, 0x44, 0, 0]

    /// TPM2_Shutdown(TPM_SU_CLEAR). Part 3, 9.4
    public static let shutdownClear: [UInt8] = [0x80, 0x01, 0, 0, 0, 12, 0, 0, 0x01, 0x45, 0, 0]

    /// TPM2_HierarchyControl that disables the platform hierarchy, with its own empty authorization. Part 3, 24.2
    public static let disablePlatformHierarchy: [UInt8] = [
        0x80, 0x02, 0, 0, 0, 32, 0, 0, 0x01, 0x21,
        0x40, 0, 0, 0x0c,  // authorized by TPM_RH_PLATFORM
        0, 0, 0, 9, 0x40, 0, 0, 0x09, 0, 0, 0, 0, 0,  // a TPM_RS_PW session: no nonce, no attributes, empty password
        0x40, 0, 0, 0x0c,  // enable: TPM_RH_PLATFORM
        0,  // NO
    ]

    /// Returns the locality that the kernel's driver sets with its own `TPM2_CC_SET_LOCALITY`; nil for other commands.
    ///
    /// libtpms does not know this code. A tenant cannot send it: the driver refuses it from `/dev/tpmN`, and the
    /// resource manager answers it itself (`vtpm_proxy_is_driver_command`, `tpm2_find_and_validate_cc`).
    public static func requestedLocality(in command: UnsafeRawBufferPointer) -> UInt8? {
        let code = UInt32(TPM2_CC_SET_LOCALITY)
        guard command.count == 11, command[10] <= 4, command.bigEndian(at: 6, as: UInt32.self) == code else {
            return nil
        }
        return command[10]
    }
}
