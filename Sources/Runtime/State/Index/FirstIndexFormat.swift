import Platform

/// The first format of the host's index: all records in one file.
///
/// It is read for ever, and not written any more.
///
///     magic     8 bytes  "CVTPMIX" and a line feed
///     version   16 bits  1
///     size      32 bits  of the whole file, in bytes
///     key id    16 bytes which master key the index's key is derived from
///     sequence  64 bits  one more with each write
///     counter   64 bits  the value of the host TPM's counter that belongs to this content; 0 without one
///     identity  32 bits length, then what the counter is recognized by; empty without one
///     entries   32 bits  how many follow
///     entry     state id (32 bits length, UTF-8), UUID (16 bytes), generation (64 bits), last use (64 bits, seconds
///               since 1970), bundle (32 bits length, UTF-8), new state id while it is renamed (32 bits length, UTF-8)
///     tag       32 bytes HMAC-SHA-256 of all before it
///
/// Integers are big-endian. The index holds no secret; nobody without the key can make or change one.
struct FirstIndexFormat: Equatable {
    static let version: UInt16 = 1

    /// How often it was written.
    var sequence: UInt64 = 0
    /// The host TPM's counter value that belongs to it.
    var counter: UInt64 = 0
    /// What the counter is recognized by; empty if the index is not bound to one.
    var counterIdentity: [UInt8] = []
    /// The states, by the names of their directories, which tell apart what Swift's equality of texts does not.
    var entries: [String: IndexEntry] = [:]

    /// An index of no states.
    init() {}

    /// Parses what follows the key's ID in a file whose tag was found to be right; returns nil if it is damaged.
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
        // Later versions find out by the new name that a state is being renamed to it.
        for entry in entries.values where !entry.renamedTo.isEmpty {
            let name = try StateDirectoryName.encoded(entry.renamedTo)
            var target =
                entries[name] ?? IndexEntry(stateID: entry.renamedTo, uuid: entry.uuid, generation: 0)
            target.renamedFrom = entry.stateID
            entries[name] = target
        }
    }
}
