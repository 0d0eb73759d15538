import Platform
import VTPMProxy

// Which instance an endorsement key is.
extension StateStore {
    /// Records keys by their digests as this instance's; returns false if another has one of them, and records nothing then.
    ///
    /// Nobody else can have the keys of a new TPM, whose record is written with the first use (``recordUse(library:)``). An
    /// instance never gives up a key, and has one of each kind: a worker that shows another one at each start gets nowhere.
    public func claim(_ keys: [[UInt8]], ofNew isNew: Bool) throws(Failure) -> Bool {
        if isNew { return true }
        let (own, name) = (header.uuid, name)
        var before: [[UInt8]] = []
        var fits = true
        try index.transact { (records) throws(Failure) in
            guard var entry = try records.entry(name), entry.uuid == own else {
                throw Failure("cannot endorse the TPM", because: "the host's index does not know its state any more")
            }
            before = entry.endorsementKeys
            let all = before + keys.filter { !before.contains($0) }
            fits = before.isEmpty || all.count == before.count || all.count <= Self.kinds && before.count < Self.kinds
            guard fits else { return }
            entry.endorsementKeys = all
            try records.set(entry)
        }
        guard fits else { return false }
        // Of two that ask at the same time, each has written before it looks.
        var isOwn = true
        try index.each { (entry) throws(Failure) in
            if entry.uuid != own, entry.endorsementKeys.contains(where: { keys.contains($0) }) { isOwn = false }
        }
        if !isOwn {
            try index.transact { (records) throws(Failure) in
                try records.update(name) { $0.endorsementKeys = before }
            }
        }
        return isOwn
    }

    /// How many kinds of endorsement keys there are.
    private static let kinds = StandardKeys.all.elements.filter { $0.isEndorsement }.count
}
