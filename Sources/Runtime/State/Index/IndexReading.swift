import Platform

/// Looking at what the host's index remembers, for lists and for what an operator has done to all states.
extension HostIndex {
    /// Which master key it needs; nil if there is no index.
    public func keyID() throws(Failure) -> [UInt8]? {
        switch try load() {
        case .root(let root): root.keyID
        case .first(_, let keyID): keyID
        case nil: nil
        }
    }

    /// What is remembered of one state, without a look at the counter: for lists.
    ///
    /// Returns nil if nothing is.
    public func entry(_ name: String) throws(Failure) -> IndexEntry? {
        try lockContents().run { () throws(Failure) in
            switch try load() {
            case .root(let root): return try open(root).entry(name)
            case .first(let first, _): return first.entries[name]
            case nil: return nil
            }
        }
    }

    /// Calls `body` with each record as it is, without a look at the counter, in no order.
    ///
    /// It needs no more memory for many records than for few, and keeps nobody from starting or stopping meanwhile. What is
    /// changed meanwhile may be found as it was or as it is.
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
                // What is no failure of the tree's is none that another look could mend.
                if let failure { throw failure }
                // The tree may have been changed twice meanwhile, and this part of it overwritten.
                guard case .root(let now) = try load(), now.epoch != root.epoch || now.base != root.base else {
                    throw error
                }
            }
        }
    }

    /// Calls `body` with what the journal has of keys that were not passed yet.
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

    /// All records, by the names of the states' directories.
    public func snapshot() throws(Failure) -> [String: IndexEntry] {
        var all: [String: IndexEntry] = [:]
        try each { (entry) throws(Failure) in all[try StateDirectoryName.encoded(entry.stateID)] = entry }
        return all
    }
}
