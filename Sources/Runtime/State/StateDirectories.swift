import Glibc
import Platform

extension StateRepository {
    /// Keeps others from making, renaming or removing states' directories while `body` runs.
    package func withCreationLock<Result: ~Copyable>(
        until deadline: Deadline,
        checkCancellation: CancellationCheck = {},
        _ body: () throws(Failure) -> Result
    ) throws(Failure) -> Result {
        let lock = try FileLock(
            directory: directory,
            until: deadline,
            "the states directory",
            checkCancellation: checkCancellation
        )
        return try lock.run(body)
    }

    /// Makes a state's directory with its first file, so that it appears whole or not at all.
    package func makeDirectory(
        _ name: String,
        _ header: StateFile,
        _ payload: StatePayload
    ) throws(Failure) -> Descriptor {
        let (path, temporary) = (path(of: name), "\(Self.newPrefix)\(name)")
        do {
            try disk.makeDirectory(temporary, in: directory, as: path)
        } catch let error where error.code == EEXIST {}
        let new = try Descriptor.open(temporary, .beneath(O_RDONLY | O_DIRECTORY), at: directory.number, as: path)
        let key = try keys.instanceKey(of: header, header.stateID, path: path)
        do {
            try StateStore.write(header, payload, key: key, in: new, disk, path: "\(path)/\(StateStore.fileName)")
            try disk.rename(temporary, in: directory, to: name, in: directory, as: path)
        } catch {
            try? disk.removeFile(StateStore.fileName, in: new, as: path)
            try? disk.removeDirectory(temporary, in: directory, as: path)
            throw error
        }
        try disk.synchronize(directory, as: path)
        return new
    }

    /// Makes sure that a state's file and its directory are found under their names after a power failure.
    package func synchronize(_ directory: borrowing Descriptor, path: String) throws(Failure) {
        try disk.synchronize(directory, as: path)
        try disk.synchronize(self.directory, as: path)
    }

    /// Removes a state's directory: its name goes at once, what is in it after that.
    ///
    /// What others have left is removed as well, unless a caller does that once for many.
    package func removeDirectory(_ name: String, sweeps: Bool = true) throws(Failure) {
        try retire(name)
        if sweeps { try sweep() } else { try removeLeftovers(of: name) }
    }

    /// Takes a state's directory out of the way: nothing starts from it any more, and it goes with the next sweep.
    package func retire(_ name: String) throws(Failure) {
        let path = path(of: name)
        try disk.rename(name, in: directory, to: "\(Self.removedPrefix)\(name)", in: directory, as: path)
        try disk.synchronize(directory, as: path)
    }

    /// Makes sure that a state whose removal was interrupted does not come back under its name after a power failure.
    ///
    /// Who gave it another name may have been killed before that was synced.
    package func settleRemoval(of name: String) throws(Failure) {
        if try isRetired(name) { try disk.synchronize(directory, as: path(of: name)) }
    }

    /// Whether the removal of a state was interrupted.
    package func isRetired(_ name: String) throws(Failure) -> Bool {
        try directory.status(of: "\(Self.removedPrefix)\(name)", path(of: name)) != nil
    }

    /// Removes all that an interrupted command has left: states being made or removed.
    ///
    /// A purged state is gone.
    ///
    /// It looks at all names; a start, which must not, has ``removeLeftovers(of:)``.
    package func sweep() throws(Failure) {
        for name in try entries(of: directory, path)
        where name.hasPrefix(Self.removedPrefix) || name.hasPrefix(Self.newPrefix) {
            do {
                try removeLeftover(name)
            } catch let error where [ENOTDIR, EISDIR, ENOTEMPTY, ELOOP].contains(error.code) {
                // Nothing of this program's looks so, and it keeps nobody from removing states.
            }
        }
    }

    /// Removes what an interrupted command has left of one state.
    package func removeLeftovers(of name: String) throws(Failure) {
        for prefix in [Self.removedPrefix, Self.newPrefix] { try removeLeftover("\(prefix)\(name)") }
    }

    private func removeLeftover(_ name: String) throws(Failure) {
        let path = path(of: name)
        guard let old = try open(name) else { return }
        // Who gave it this name may have been killed before that was synced; under its old one it must be whole.
        try disk.synchronize(directory, as: path)
        for file in try entries(of: old, path) { try disk.removeFile(file, in: old, as: path) }
        try disk.removeDirectory(name, in: directory, as: path)
        try disk.synchronize(directory, as: path)
    }

    /// What the name of a directory begins with that is being removed; no state's does.
    private static let removedPrefix = ".old-"
    /// What the name of a directory begins with that is being made; no state's does.
    private static let newPrefix = ".new-"
}
