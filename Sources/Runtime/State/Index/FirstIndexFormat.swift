import Platform

/// The first format of the host's index: all records in one file.
///
/// It will always be read, and is no longer written.
///
///     magic     8 bytes  "CVTPMIX" and a line feed
///     version   16 bits  1
///     size      32 bits  of the whole file, in bytes
///     key id    16 bytes the master key that the index's key is derived from
///     sequence  64 bits  one more with each write
///     counter   64 bits  the value of the host TPM's counter that belongs to this content; 0 without one
///     identity  32 bits length, then the bytes that identify the counter; empty without one
///     entries   32 bits  how many follow
///     entry     state id (32 bits length, UTF-8), UUID (16 bytes), generation (64 bits), last use (64 bits, seconds
///               since 1970), bundle (32 bits length, UTF-8), new state id while it is renamed (32 bits length, UTF-8)
///     tag       32 bytes HMAC-SHA-256 of all before it
///
/// Integers are big-endian. The index holds no secret; nobody can create or change one without the key.
struct FirstIndexFormat: Equatable {
    static let version: UInt16 = 1

    /// The number of writes.
    var sequence: UInt64 = 0
    /// The value of the host TPM's counter that belongs to this content; 0 without one.
    var counter: UInt64 = 0
    /// The bytes that identify the counter; empty if the index is not bound to one.
    var counterIdentity: [UInt8] = []
    /// The states by the names of their directories, which differ even if Swift's `==` holds for two IDs.
    var entries: [String: IndexEntry] = [:]

    /// Creates an index without states.
    init() {}

    /// Parses the fields after the key's ID in a file whose tag is valid; returns nil if they are damaged.
    init?(_ body: inout ByteReader) throws(Failure) {
        guard let sequence = body.read(UInt64.self), let counter = body.read(UInt64.self),
            let identitySize = body.read(UInt32.self), let identity = body.read(count: Int(identitySize)),
            let count = body.read(UInt32.self)
        else { return nil }
        self.sequence = sequence
        self.counter = counter
        self.counterIdentity = identity
        for _ in 0..<count {
            guard let stateID = body.readText(), let uuid = body.read(count: StateFile.uuidSize),
                let generation = body.read(UInt64.self), let lastUse = body.read(UInt64.self),
                let bundle = body.readText(), let renamedTo = body.readText()
            else { return nil }
            entries[try StateDirectoryName.encoded(stateID)] = IndexEntry(
                stateID: stateID,
                uuid: uuid,
                generation: generation,
                lastUse: lastUse,
                bundle: bundle,
                renamedTo: renamedTo
            )
        }
        // The second format also has the rename in the record of the new name.
        for entry in entries.values where !entry.renamedTo.isEmpty {
            let name = try StateDirectoryName.encoded(entry.renamedTo)
            var target =
                entries[name] ?? IndexEntry(stateID: entry.renamedTo, uuid: entry.uuid, generation: 0)
            target.renamedFrom = entry.stateID
            entries[name] = target
        }
    }
}
