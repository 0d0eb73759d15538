import Platform

// Which instance an endorsement key is.
extension StateStore {
    /// Records keys by their digests as this instance's; returns false if another has one of them, and records nothing then.
    ///
    /// Nobody else can have the keys of a new TPM, whose record is written with the first use (``recordUse(library:)``).
    public func claim(_ keys: [[UInt8]], ofNew isNew: Bool) throws(Failure) -> Bool {
        if isNew {
            claimed = keys
            return true
        }
        let (own, name) = (header.uuid, name)
        var isOwn = true
        try index.each { (entry) throws(Failure) in
            if entry.uuid != own, entry.endorsementKeys.contains(where: { keys.contains($0) }) { isOwn = false }
        }
        guard isOwn else { return false }
        // Of two that ask at the same time, the one that comes second must find the other's record.
        try index.transact { (records) throws(Failure) in try records.update(name) { $0.endorsementKeys = keys } }
        return true
    }
}
