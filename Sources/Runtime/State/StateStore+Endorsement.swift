import Platform
import VTPMProxy

// Which instance an endorsement key is.
extension StateStore {
    /// Records keys by their marks (``EndorsementHead/keys``) as this instance's, unless something speaks against one of them.
    ///
    /// Nobody else can have the keys of a TPM that was just made. Those of one from the pool are looked for, so that no copy of
    /// a pool makes two of it. The record of both is written with the first use (``recordUse(library:)``). An instance has one key of each kind for ever: a worker that shows another one at each start gets nothing for it.
    public func claim(_ keys: [[UInt8]], of origin: TPMOrigin) throws(Failure) -> KeyClaim {
        switch origin {
        case .manufacture: return .own
        case .pool: return try isTaken(keys) ? .taken : .own
        case .state: return try record(keys)
        }
    }

    /// Returns whether another instance is recorded with one of these keys.
    private func isTaken(_ keys: [[UInt8]]) throws(Failure) -> Bool {
        let own = header.uuid
        var isTaken = false
        try index.each { (entry) throws(Failure) in
            if entry.uuid != own, entry.endorsementKeys.contains(where: { keys.contains($0) }) { isTaken = true }
        }
        return isTaken
    }

    private func record(_ keys: [[UInt8]]) throws(Failure) -> KeyClaim {
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
        guard try isTaken(keys) else { return .own }
        // What the state itself has recorded stays; what a killed start has left goes.
        let recorded = EndorsementHead(of: endorsement).keys
        try index.transact { (records) throws(Failure) in
            try records.update(name) { $0.endorsementKeys = recorded }
        }
        return .taken
    }
}
