import Platform

/// A change of the host's index: the records that it has read, and the new ones.
package struct IndexTransaction {
    /// The names whose records were read.
    private(set) var names: Set<String> = []
    private let read: (String) throws(Failure) -> IndexEntry?
    private(set) var changes: [IndexChange] = []

    init(_ read: @escaping (String) throws(Failure) -> IndexEntry?) {
        self.read = read
    }

    /// Returns the record of the state with this directory name, or nil if there is none.
    package mutating func entry(_ name: String) throws(Failure) -> IndexEntry? {
        names.insert(name)
        if let change = changes.last(where: { $0.name == name }) { return change.entry }
        return try read(name)
    }

    /// Sets a state's record, under the name of its directory; does nothing if the record is unchanged.
    package mutating func set(_ entry: IndexEntry) throws(Failure) {
        let name = try StateDirectoryName.encoded(entry.stateID)
        guard try self.entry(name) != entry else { return }
        changes.removeAll { $0.name == name }
        changes.append(IndexChange(name: name, entry: entry))
    }

    /// Removes a state's record and returns it, or nil if there is none.
    @discardableResult
    package mutating func remove(_ name: String) throws(Failure) -> IndexEntry? {
        guard let old = try entry(name) else { return nil }
        changes.removeAll { $0.name == name }
        changes.append(IndexChange(name: name, entry: nil))
        return old
    }

    /// Changes a state's record; does nothing if there is none.
    package mutating func update(_ name: String, _ body: (inout IndexEntry) -> Void) throws(Failure) {
        guard var entry = try entry(name) else { return }
        body(&entry)
        try set(entry)
    }
}
