import CLinux
import Glibc
import Platform

// The last moment of a change, in which somebody else may change the file too: what has come since is put back.
extension EngineFiles {
    /// Has the new file, which has this inode number, take the place of the one that was found.
    ///
    /// - Throws: ``Failure`` if another one stood there, which is there again then.
    func exchange(
        _ path: String,
        in folder: borrowing Descriptor,
        _ found: FoundFile?,
        new: ino_t
    ) throws(Failure) {
        let (directory, name, what) = (folder.number, Self.name(path), "cannot replace \(path)")
        guard let found else {
            // What has come meanwhile stays.
            try systemCall("renameat2", what) { rename(directory, Self.temporary, name, clinux_rename_noreplace) }
            return
        }
        do {
            try systemCall("renameat2", what) { rename(directory, Self.temporary, name, clinux_rename_exchange) }
        } catch let error where Self.isUnsupported(error) {
            // The look just before has to do.
            try systemCall("renameat2", what) { rename(directory, Self.temporary, name, 0) }
            return
        }
        do {
            try requireUnchanged(path, named: Self.temporary, in: folder, found)
        } catch {
            putBack(path, in: folder, new: new)
            throw error
        }
        try remove(Self.temporary, at: folder, path)
    }

    /// Exchanges the files again.
    ///
    /// If even the new one has been replaced meanwhile, what has come last stays.
    private func putBack(_ path: String, in folder: borrowing Descriptor, new: ino_t) {
        let (directory, name) = (folder.number, Self.name(path))
        for _ in 0..<2 {
            guard rename(directory, Self.temporary, name, clinux_rename_exchange) == 0 else {
                // Nothing is there any more.
                _ = rename(directory, Self.temporary, name, clinux_rename_noreplace)
                return
            }
            if (try? folder.status(of: Self.temporary, path))??.st_ino == new { return }
        }
        try? remove(Self.temporary, at: folder, path)
    }

    /// Removes a file that is as it was found.
    ///
    /// - Throws: ``Failure`` if another one stood there, which is there again then.
    func takeAway(_ path: String, in folder: borrowing Descriptor, _ found: FoundFile) throws(Failure) {
        let (directory, name) = (folder.number, Self.name(path))
        try remove(Self.temporary, at: folder, path)
        do {
            try systemCall("renameat2", "cannot remove \(path)") {
                rename(directory, name, Self.temporary, clinux_rename_noreplace)
            }
        } catch let error where Self.isUnsupported(error) {
            return try remove(name, at: folder, path)
        }
        do {
            try requireUnchanged(path, named: Self.temporary, in: folder, found)
        } catch {
            _ = rename(directory, Self.temporary, name, clinux_rename_noreplace)
            throw error
        }
        try remove(Self.temporary, at: folder, path)
    }

    /// Whether the file system knows no flags of renameat2(2).
    private static func isUnsupported(_ error: Failure) -> Bool {
        [EINVAL, ENOSYS, EOPNOTSUPP].contains(error.code)
    }
}
