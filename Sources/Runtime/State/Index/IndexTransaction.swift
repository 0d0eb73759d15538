import Platform

/// What a change of the host's index sees, and what it makes of it.
package struct IndexTransaction {
    /// The names that were looked at.
    private(set) var names: Set<String> = []
    private let read: (String) throws(Failure) -> IndexEntry?
    private(set) var changes: [IndexChange] = []

    init(_ read: @escaping (String) throws(Failure) -> IndexEntry?) {
        self.read = read
    }

    /// What is remembered of the state with this directory name; nil if nothing is.
    package mutating func entry(_ name: String) throws(Failure) -> IndexEntry? {
        names.insert(name)
        if let change = changes.last(where: { $0.name == name }) { return change.entry }
        return try read(name)
    }

    /// Remembers a state, under the name of its directory.
    package mutating func set(_ entry: IndexEntry) throws(Failure) {
        let name = try StateDirectoryName.encoded(entry.stateID)
        guard try self.entry(name) != entry else { return }
        changes.removeAll { $0.name == name }
        changes.append(IndexChange(name: name, entry: entry))
    }

    /// Forgets a state; returns what was remembered of it.
    @discardableResult
    package mutating func remove(_ name: String) throws(Failure) -> IndexEntry? {
        guard let old = try entry(name) else { return nil }
        changes.removeAll { $0.name == name }
        changes.append(IndexChange(name: name, entry: nil))
        return old
    }

    /// Changes what is remembered of a state; does nothing if nothing is.
    package mutating func update(_ name: String, _ body: (inout IndexEntry) -> Void) throws(Failure) {
        guard var entry = try entry(name) else { return }
        body(&entry)
        try set(entry)
    }
}
