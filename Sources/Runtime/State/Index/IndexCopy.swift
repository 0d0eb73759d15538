import Platform

/// A copy of the host's index, to be written in another place, for a backup.
///
/// What it is bound to was read before its records. So no record is older than the counter's value says: where the host
/// TPM's counter is still at that value, nothing has changed since.
package struct IndexCopy {
    private var whole: FirstIndexFormat

    /// The records by the names of the states' directories.
    package var entries: [String: IndexEntry] {
        get { whole.entries }
        set { whole.entries = newValue }
    }

    fileprivate init(_ root: IndexFile, _ entries: [String: IndexEntry]) {
        whole = FirstIndexFormat()
        switch root {
        case .root(let root): whole.sequence = root.sequence
        case .first(let first, _): whole.sequence = first.sequence
        }
        whole.counter = root.counter
        whole.counterIdentity = root.counterIdentity
        whole.entries = entries
    }

    /// Writes the copy as an index of its own into an empty directory of that path, under the current key.
    ///
    /// When it returns, its files are on stable storage. The host TPM's counter is not changed.
    package func write(
        in directory: consuming Descriptor,
        path: String,
        keys: KeyRing,
        disk: any Disk
    ) throws(Failure) {
        let index = try HostIndex(in: directory, path: path, keys: keys, disk: disk)
        try index.build(whole, keyID: keys.current.id)
        // Whoever restores the files has not synced them, whatever the hint says.
        try disk.removeFile(HostIndex.rootLockName, in: index.directory, as: index.path)
        try disk.synchronize(index.directory, as: index.path)
    }
}

extension HostIndex {
    /// Returns a copy of the index, whose records may be newer than its root.
    ///
    /// It holds the lock of the contents for a moment. Throws a ``Failure`` if there is no index.
    package func copy() throws(Failure) -> IndexCopy {
        guard let root = try load() else { throw missing }
        return IndexCopy(root, try snapshot())
    }
}
