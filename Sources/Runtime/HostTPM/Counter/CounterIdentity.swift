import Platform

/// One monotonic counter of one TPM, told apart from any that was or will be defined in its place.
public struct CounterIdentity: Equatable, Sendable {
    /// The handle of the NV index.
    public let index: UInt32
    /// The name of the NV index, as it is since it was first written: 00 0b and the SHA-256 of its TPMS_NV_PUBLIC.
    ///
    /// The authorization policy in it is random and belongs to nobody, so that the name is never had twice by chance.
    public let name: [UInt8]
    /// The handle of the storage key that tells the TPM apart.
    public let storageKeyHandle: UInt32
    /// The name of that key.
    public let storageKeyName: [UInt8]

    init(index: UInt32, name: [UInt8], key: StorageKey) {
        self.index = index
        self.name = name
        self.storageKeyHandle = key.handle
        self.storageKeyName = key.name
    }

    /// Reads what ``write(to:)`` wrote; nil if it is not that.
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

    /// Writes the index, 32 bits; its name's size, 16 bits, and name; the storage key's handle, size and name likewise.
    public func write(to writer: inout ByteWriter) {
        writer.write(index)
        writer.write(sized: name)
        writer.write(storageKeyHandle)
        writer.write(sized: storageKeyName)
    }
}
