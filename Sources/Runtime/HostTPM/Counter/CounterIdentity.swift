import Platform

/// The identity of one monotonic counter in one TPM.
///
/// A counter that is defined at the same index before or after it has another identity.
public struct CounterIdentity: Equatable, Sendable {
    /// The handle of the NV index.
    public let index: UInt32
    /// The name of the NV index after its first write: 00 0b and the SHA-256 of its TPMS_NV_PUBLIC.
    ///
    /// The authorization policy in it is random, which makes the name unique. Nobody can satisfy that policy.
    public let name: [UInt8]
    /// The handle of the storage key that identifies the TPM.
    public let storageKeyHandle: UInt32
    /// The name of the storage key.
    public let storageKeyName: [UInt8]

    init(index: UInt32, name: [UInt8], key: StorageKey) {
        self.index = index
        self.name = name
        self.storageKeyHandle = key.handle
        self.storageKeyName = key.name
    }

    /// Reads the form that ``write(to:)`` writes; returns nil if it is malformed.
    public init?(_ reader: inout ByteReader) {
        guard let index = reader.read(UInt32.self), Handle.type(of: index) == Handle.nvType,
            let name = reader.readSized(), isEntityName(name),
            let storageKeyHandle = reader.read(UInt32.self),
            Handle.type(of: storageKeyHandle) == Handle.persistentType,
            let storageKeyName = reader.readSized(), isEntityName(storageKeyName)
        else { return nil }
        self.index = index
        self.name = name
        self.storageKeyHandle = storageKeyHandle
        self.storageKeyName = storageKeyName
    }

    /// Writes the index in 32 bits, the size of its name in 16 bits and the name; then the same for the storage key.
    public func write(to writer: inout ByteWriter) {
        writer.write(index)
        writer.write(sized: name)
        writer.write(storageKeyHandle)
        writer.write(sized: storageKeyName)
    }
}
