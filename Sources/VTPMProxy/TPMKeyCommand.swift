import Platform

// The commands by which a TPM gets its keys. TPM 2.0 Library, Part 3
extension TPMCommand {
    /// TPM_RH_OWNER.
    private static let owner: UInt32 = 0x4000_0001
    /// TPM_RH_ENDORSEMENT.
    public static let endorsement: UInt32 = 0x4000_000b
    /// TPM_RH_PLATFORM.
    static let platform: UInt32 = 0x4000_000c
    /// TPM_RS_PW.
    private static let password: UInt32 = 0x4000_0009

    /// Returns a command of a hierarchy whose authorization is empty.
    static func command(
        _ code: UInt32,
        handles: [UInt32],
        parameters: [UInt8]
    ) -> [UInt8] {
        var writer = ByteWriter(capacity: 512)
        writer.write(sessions)
        writer.write(UInt32(headerSize + 4 * handles.count + 4 + 9 + parameters.count))
        writer.write(code)
        for handle in handles { writer.write(handle) }
        // The size of the session's part; no nonce, no attributes, an empty password.
        writer.write(UInt32(9))
        writer.write(password)
        writer.write([0, 0, 0, 0, 0])
        writer.write(parameters)
        return writer.bytes
    }

    /// Returns the TPM2_CreatePrimary of a key, which puts it at a handle of the TPM's choice. Part 3, 24.1
    public static func createPrimary(_ key: StandardKey) -> [UInt8] {
        let template = key.template.bytes
        var parameters = ByteWriter(capacity: 512)
        // TPM2B_SENSITIVE_CREATE: an empty authorization, and no data.
        parameters.write(UInt16(4))
        parameters.write([0, 0, 0, 0])
        parameters.write(UInt16(template.count))
        parameters.write(template)
        // Nothing from outside, and no PCRs.
        parameters.write(UInt16(0))
        parameters.write(UInt32(0))
        return command(0x131, handles: [key.hierarchy], parameters: parameters.bytes)
    }

    /// Returns the TPM2_EvictControl that keeps an object of the owner's or the endorsement hierarchy. Part 3, 28.5
    public static func keep(_ object: UInt32, at handle: UInt32) -> [UInt8] {
        var parameters = ByteWriter()
        parameters.write(handle)
        return command(0x120, handles: [owner, object], parameters: parameters.bytes)
    }

    /// Returns the TPM2_FlushContext of an object. Part 3, 28.4
    public static func flush(_ object: UInt32) -> [UInt8] {
        var writer = ByteWriter()
        writer.write(noSessions)
        writer.write(UInt32(headerSize + 4))
        writer.write(UInt32(0x165))
        writer.write(object)
        return writer.bytes
    }

    /// TPM_RC_BAD_AUTH, with the number of the session: an authorization is not the empty one.
    public static let badAuthorization: UInt32 = 0x9a2
    /// TPM_RC_NV_SPACE.
    public static let noSpace: UInt32 = 0x14b
    /// TPM_PT_PERMANENT, whose value is a TPMA_PERMANENT.
    public static let permanentAttributes: UInt32 = 0x200
    /// TPM_PT_HR_PERSISTENT_AVAIL: how many persistent objects there is still room for, at least.
    public static let roomForPersistentObjects: UInt32 = 0x209

    /// TPM2_GetCapability that tells the handles of all persistent objects. Part 3, 30.2
    public static let persistentHandles = getCapability(1, from: 0x8100_0000, count: 254)

    /// Returns the TPM2_GetCapability that tells one of the TPM's properties.
    public static func value(of property: UInt32) -> [UInt8] { getCapability(6, from: property, count: 1) }

    static func getCapability(_ capability: UInt32, from property: UInt32, count: UInt32) -> [UInt8] {
        var writer = ByteWriter()
        writer.write(noSessions)
        writer.write(UInt32(headerSize + 12))
        writer.write(UInt32(0x17a))
        for value in [capability, property, count] { writer.write(value) }
        return writer.bytes
    }

    /// Returns the handles in a response to ``persistentHandles``; none if it is no such response.
    public static func handles(in response: UnsafeRawBufferPointer) -> [UInt32] {
        // After the header: whether there are more (a byte), the capability, the number of handles.
        guard responseCode(of: response) == success,
            let count = response.bigEndian(at: headerSize + 5, as: UInt32.self), count <= 254
        else { return [] }
        return (0..<Int(count)).compactMap { response.bigEndian(at: headerSize + 9 + 4 * $0) }
    }

    /// Returns the value in a response to ``value(of:)``; nil if the TPM does not know the property, or if it is no such response.
    public static func value(of property: UInt32, in response: UnsafeRawBufferPointer) -> UInt32? {
        guard responseCode(of: response) == success,
            response.bigEndian(at: headerSize + 5, as: UInt32.self) == 1,
            response.bigEndian(at: headerSize + 9, as: UInt32.self) == property
        else { return nil }
        return response.bigEndian(at: headerSize + 13)
    }

    /// Returns the handle of the object that a response to TPM2_CreatePrimary names; nil if it names none.
    public static func createdHandle(in response: UnsafeRawBufferPointer) -> UInt32? {
        guard responseCode(of: response) == success else { return nil }
        return response.bigEndian(at: headerSize)
    }
}
