import Glibc
import Platform

extension StateRepository {
    /// Runs `body` while nobody else can rename or remove states' directories, or create any unless the lock is shared.
    ///
    /// Starts share it: each makes its own state, whose lock it has. Commands that change states have it alone.
    /// Throws a ``Failure`` if others hold the lock beyond the deadline.
    package func withCreationLock<Result: ~Copyable>(
        shared: Bool = false,
        until deadline: Deadline,
        checkCancellation: CancellationCheck = {},
        _ body: () throws(Failure) -> Result
    ) throws(Failure) -> Result {
        let lock = try FileLock(
            directory: directory,
            shared: shared,
            until: deadline,
            "the states directory",
            checkCancellation: checkCancellation
        )
        return try lock.run(body)
    }

    /// Ensures that a state's file and its directory have their names after a power failure.
    package func synchronize(_ directory: borrowing Descriptor, path: String) throws(Failure) {
        try disk.synchronize(directory, as: path)
        try disk.synchronize(self.directory, as: path)
    }

    /// Ensures that a state that somebody has put here is there after a power failure, before it is recorded.
    package func settle(_ directory: borrowing Descriptor, _ name: String) throws(Failure) {
        let path = filePath(name)
        try disk.synchronize(StateRepository.openFile(in: directory, O_RDONLY, path: path), as: path)
        try synchronize(directory, path: path)
    }

    /// Removes a state's directory: first its name, then its files.
    ///
    /// It also removes the leftovers of others, unless `sweeps` is false because the caller sweeps once for many
    /// states.
    package func removeDirectory(_ name: String, sweeps: Bool = true) throws(Failure) {
        try retire(name)
        if sweeps { try sweep() } else { try removeLeftovers(of: name) }
    }

    /// Renames a state's directory to a name that no start looks for; the next sweep removes it.
    package func retire(_ name: String) throws(Failure) {
        let path = path(of: name)
        try disk.rename(name, in: directory, to: "\(Self.removedPrefix)\(name)", in: directory, as: path)
        try disk.synchronize(directory, as: path)
    }

    /// Returns whether the removal of a state was interrupted.
    package func isRetired(_ name: String) throws(Failure) -> Bool {
        try directory.status(of: "\(Self.removedPrefix)\(name)", path(of: name)) != nil
    }

    /// Removes all leftovers of interrupted commands: states that were being created or removed.
    ///
    /// Even a state that was being purged is gone after it. It reads all names; a start must not, and calls
    /// ``removeLeftovers(of:)``.
    package func sweep() throws(Failure) {
        for name in try entries(of: directory, path)
        where name.hasPrefix(Self.removedPrefix) || name.hasPrefix(Self.newPrefix) {
            do {
                try removeLeftover(name)
            } catch let error where [ENOTDIR, EISDIR, ENOTEMPTY, ELOOP].contains(error.code) {
                // No leftover of ours looks like this, and a foreign file must not keep anybody from removing states.
            }
        }
    }

    /// Removes the leftovers of interrupted commands of one state.
    package func removeLeftovers(of name: String) throws(Failure) {
        for prefix in [Self.removedPrefix, Self.newPrefix] { try removeLeftover("\(prefix)\(name)") }
    }

    private func removeLeftover(_ name: String) throws(Failure) {
        let path = path(of: name)
        guard let old = try open(name) else { return }
        // The process that gave it this name may have been killed before the sync, and under its old name it must be
        // whole.
        try disk.synchronize(directory, as: path)
        for file in try entries(of: old, path) { try disk.removeFile(file, in: old, as: path) }
        try disk.removeDirectory(name, in: directory, as: path)
        try disk.synchronize(directory, as: path)
    }

    /// The prefix of a directory that is being removed; no state's name has it.
    private static let removedPrefix = ".old-"
    /// The prefix that earlier versions gave a directory while it was created; no state's name has it.
    private static let newPrefix = ".new-"
}
