import Platform

/// Reads the host's index without changes, for lists and for commands that take all states.
extension HostIndex {
    /// Returns the ID of the master key that the index needs, or nil if there is no index.
    public func keyID() throws(Failure) -> [UInt8]? {
        switch try load() {
        case .root(let root): root.keyID
        case .first(_, let keyID): keyID
        case nil: nil
        }
    }

    /// Returns the record of one state, for lists; returns nil if there is none.
    ///
    /// The host TPM's counter is not compared.
    public func entry(_ name: String) throws(Failure) -> IndexEntry? {
        try lockContents().run { () throws(Failure) in
            switch try load() {
            case .root(let root): return try open(root).entry(name)
            case .first(let first, _): return first.entries[name]
            case nil: return nil
            }
        }
    }

    /// Calls `body` with each record, in no particular order.
    ///
    /// The host TPM's counter is not compared. The memory in use does not grow with the number of records in the tree,
    /// and vTPMs can be started and stopped meanwhile. A record that is changed meanwhile may be either the old or the
    /// new one.
    public func each(_ body: (IndexEntry) throws(Failure) -> Void) throws(Failure) {
        var last: [UInt8] = []
        var seen: Set<[UInt8]> = []
        while true {
            let lock = try lockContents()
            guard let file = try load() else { return }
            guard case .root(let root) = file else {
                lock.release()
                if case .first(let first, _) = file { for entry in first.entries.values { try body(entry) } }
                return
            }
            let index = try open(root)
            lock.release()
            try eachOfJournal(index, after: last, &seen, body)
            var failure: Failure?
            do throws(Failure) {
                try index.tree.each(after: last, below: root.top) { (record) throws(Failure) in
                    last = record.key
                    guard !seen.contains(record.key) else { return }
                    do throws(Failure) {
                        try body(OpenIndex.decode(record.bytes))
                    } catch {
                        failure = error
                        throw error
                    }
                }
                return
            } catch {
                // Another attempt can only help with a failure of the tree, not with one of `body`.
                if let failure { throw failure }
                // The tree may have been changed twice meanwhile, and this part of it overwritten.
                guard case .root(let now) = try load(), now.epoch != root.epoch || now.base != root.base else {
                    throw error
                }
            }
        }
    }

    /// Calls `body` with the journal's records of keys after `last`, and adds these keys to `seen`.
    private func eachOfJournal(
        _ index: OpenIndex,
        after last: [UInt8],
        _ seen: inout Set<[UInt8]>,
        _ body: (IndexEntry) throws(Failure) -> Void
    ) throws(Failure) {
        for (number, change) in index.journal.changes.enumerated() {
            let key = try index.root.treeKey(change.name)
            guard last.isEmpty || last.lexicographicallyPrecedes(key), !seen.contains(key),
                !index.journal.changes[(number + 1)...].contains(where: { $0.name == change.name })
            else { continue }
            seen.insert(key)
            if let entry = change.entry { try body(entry) }
        }
    }

    /// Returns all records by the names of the states' directories.
    public func snapshot() throws(Failure) -> [String: IndexEntry] {
        var all: [String: IndexEntry] = [:]
        try each { (entry) throws(Failure) in all[try StateDirectoryName.encoded(entry.stateID)] = entry }
        return all
    }
}
