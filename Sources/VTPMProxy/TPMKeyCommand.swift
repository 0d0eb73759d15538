import Platform

// The commands by which a TPM gets its keys. TPM 2.0 Library, Part 3
extension TPMCommand {
    /// TPM_RH_OWNER.
    private static let owner: UInt32 = 0x4000_0001
    /// TPM_RS_PW.
    private static let password: UInt32 = 0x4000_0009

    /// Returns a command of a hierarchy whose authorization is empty.
    private static func command(
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
        let template = key.template
        var parameters = ByteWriter(capacity: 384)
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

    /// Returns the TPM2_GetCapability that tells the first handle in use from this one on. Part 3, 30.2
    public static func firstHandle(from handle: UInt32) -> [UInt8] {
        var writer = ByteWriter()
        writer.write(noSessions)
        writer.write(UInt32(headerSize + 12))
        writer.write(UInt32(0x17a))
        // TPM_CAP_HANDLES
        writer.write(UInt32(1))
        writer.write(handle)
        writer.write(UInt32(1))
        return writer.bytes
    }

    /// Returns the handle in a response to ``firstHandle(from:)``; nil if there is none, or if it is no such response.
    public static func firstHandle(in response: UnsafeRawBufferPointer) -> UInt32? {
        // After the header: whether there are more (a byte), the capability, the number of handles.
        guard responseCode(of: response) == success,
            response.bigEndian(at: headerSize + 5, as: UInt32.self) == 1
        else { return nil }
        return response.bigEndian(at: headerSize + 9)
    }

    /// Returns the handle of the object that a response to TPM2_CreatePrimary names; nil if it names none.
    public static func createdHandle(in response: UnsafeRawBufferPointer) -> UInt32? {
        guard responseCode(of: response) == success else { return nil }
        return response.bigEndian(at: headerSize)
    }
}
