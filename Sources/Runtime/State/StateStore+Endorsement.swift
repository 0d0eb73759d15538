import Platform
import VTPMProxy

// Which instance an endorsement key is, and what the host's index says of itself.
extension StateStore {
    /// Returns what identifies the counter in the host's TPM that the index is bound to, and the value that belongs to it.
    public func counter() throws(Failure) -> (identity: [UInt8], value: UInt64)? { try index.counterReading() }

    /// Records keys by their marks (``EndorsementHead/keys``) as this instance's, unless something speaks against one of them.
    ///
    /// Nobody else can have the keys of a new TPM, whose record is written with the first use (``recordUse(library:)``). An
    /// instance has one key of each kind for ever: a worker that shows another one at each start gets nothing for it.
    public func claim(_ keys: [[UInt8]], ofNew isNew: Bool) throws(Failure) -> KeyClaim {
        if isNew { return .own }
        let (own, name) = (header.uuid, name)
        var isChanged = false
        try index.transact { (records) throws(Failure) in
            guard var entry = try records.entry(name), entry.uuid == own else {
                throw Failure("cannot endorse the TPM", because: "the host's index does not know its state any more")
            }
            for key in keys {
                guard let before = entry.endorsementKeys.first(where: { $0.first == key.first }) else {
                    entry.endorsementKeys.append(key)
                    continue
                }
                if before != key { isChanged = true }
            }
            if !isChanged { try records.set(entry) }
        }
        guard !isChanged else { return .changed }
        // Of two that ask at the same time, each has written before it looks.
        var isTaken = false
        try index.each { (entry) throws(Failure) in
            if entry.uuid != own, entry.endorsementKeys.contains(where: { keys.contains($0) }) { isTaken = true }
        }
        guard isTaken else { return .own }
        // What the state itself has recorded stays; what a killed start has left goes.
        let recorded = EndorsementHead(of: endorsement).keys
        try index.transact { (records) throws(Failure) in
            try records.update(name) { $0.endorsementKeys = recorded }
        }
        return .taken
    }
}
