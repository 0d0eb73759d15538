import Platform

@testable import RuntimeHostTPM

/// Test fixture: every command of the TPM 2.0 Library, Part 3, that the platform's authorization allows, in a form that a
/// TPM with an open platform hierarchy executes.
struct PlatformCommand: Sendable {
    let name: String
    let bytes: [UInt8]
    /// What a TPM whose platform hierarchy is open answers: success, or why this one does not go that far.
    var open: UInt32 = 0

    /// TPM_RC_COMMAND_CODE: libtpms does not have the command.
    static let unknown: UInt32 = 0x143

    /// An index that the platform has made before.
    static let index: UInt32 = 0x01c0_0002
    /// One that it has not.
    static let newIndex: UInt32 = 0x01c0_0010

    private static func make(
        _ name: String,
        _ code: UInt32,
        _ others: [UInt32] = [],
        open: UInt32 = 0,
        _ parameters: (inout ByteWriter) -> Void = { _ in }
    ) -> PlatformCommand {
        let request = TPMRequest(code, [Handle.platform] + others, isAuthorized: true, parameters)
        return PlatformCommand(name: name, bytes: request.bytes, open: open)
    }

    private static func control(_ name: String, _ hierarchy: UInt32, _ state: UInt8) -> PlatformCommand {
        make("HierarchyControl: \(name)", 0x121) {
            $0.write(hierarchy)
            $0.write(state)
        }
    }

    /// In an order in which an open TPM executes them one after the other.
    static let all: [PlatformCommand] = [
        control("platform on", Handle.platform, 1),
        control("owner off", Handle.owner, 0), control("owner on", Handle.owner, 1),
        control("endorsement off", Handle.endorsement, 0), control("endorsement on", Handle.endorsement, 1),
        control("platform NV off", Handle.platformNV, 0), control("platform NV on", Handle.platformNV, 1),
        make("HierarchyChangeAuth", 0x129) { $0.write(sized: []) },
        make("SetPrimaryPolicy", 0x12e) { $0.write([0, 0, 0, 0x10] as [UInt8]) },
        make("SetAlgorithmSet", 0x13f) { $0.write(UInt32(0)) },
        make("ClockSet", 0x128) { $0.write(UInt64(1) << 40) },
        make("ClockRateAdjust", 0x130) { $0.write(UInt8(1)) },
        make("PCR_Allocate", 0x12b) { $0.write([0, 0, 0, 1, 0, 0x0b, 3, 0xff, 0, 0] as [UInt8]) },
        // No PCR has a policy of its own in libtpms: TPM_RC_VALUE, first parameter but one.
        make("PCR_SetAuthPolicy", 0x12c, open: 0x3c4) {
            $0.write([0, 0, 0, 0x10, 0, 0, 0, 7] as [UInt8])
        },
        // TPM_RC_PP: it takes somebody at the machine, too.
        make("PP_Commands", 0x12d, open: 0x990) { $0.write([0, 0, 0, 0, 0, 0, 0, 0] as [UInt8]) },
        make("SetCommandCodeAuditStatus", 0x140) { $0.write([0, 0x10, 0, 0, 0, 0, 0, 0, 0, 0] as [UInt8]) },
        make("FieldUpgradeStart", 0x12f, [0x8000_0000], open: unknown),
        make("PolicySecret", 0x151, [0x0300_0000]) { $0.write([0, 0, 0, 0, 0, 0, 0, 0, 0, 0] as [UInt8]) },
        make("NV_Write", 0x137, [index]) {
            $0.write(sized: [9, 9])
            $0.write(UInt16(0))
        },
        make("NV_Read", 0x14e, [index]) { $0.write([0, 2, 0, 0] as [UInt8]) },
        make("NV_ReadLock", 0x14f, [index]),
        make("NV_WriteLock", 0x138, [index]),
        PlatformCommand(
            name: "NV_DefineSpace",
            bytes: CommandCorpus.define(newIndex, by: Handle.platform).bytes
        ),
        make("NV_UndefineSpace", 0x122, [newIndex]),
        make("NV_GlobalWriteLock", 0x132),
        PlatformCommand(
            name: "CreatePrimary",
            bytes: CommandCorpus.createPrimary(Handle.platform, StorageKey.template).bytes
        ),
        // What CreatePrimary has made, or the tenant's own key.
        make("EvictControl", 0x120, [0x8000_0000]) { $0.write(UInt32(0x8180_0000)) },
        make("ClearControl", 0x127) { $0.write(UInt8(0)) },
        make("Clear", 0x126),
        make("ChangeEPS", 0x124),
        make("ChangePPS", 0x125),
        control("platform off", Handle.platform, 0),
    ]
}
