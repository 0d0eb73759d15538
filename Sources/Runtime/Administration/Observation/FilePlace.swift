import Glibc
import Platform

/// A file that is replaced in one step, so that who reads it meets a whole one: its directory and its name.
public struct FilePlace {
    /// The directory's path.
    public let directory: String
    /// The name in the directory.
    public let name: String
    private let path: String

    /// Takes a path apart.
    public init(_ path: String) {
        self.path = path
        let slash = path.lastIndex(of: "/")
        let parent = slash.map { String(path[..<$0]) } ?? "."
        directory = parent.isEmpty ? "/" : parent
        name = slash.map { String(path[path.index(after: $0)...]) } ?? path
    }

    /// Replaces the file in its open directory.
    ///
    /// What is no file, such as /dev/null, is not replaced.
    /// The directory may be another user's, who could put a link at the temporary name: that is never followed.
    public func replace(_ content: [UInt8], mode: mode_t, in directory: borrowing Descriptor) throws(Failure) {
        try requireFile(in: directory)
        let temporary = ".\(name).new"
        try remove(temporary, at: directory, path)
        let options = OpenOptions(O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, mode: 0o600)
        let file = try Descriptor.open(temporary, options, at: directory.number, as: path)
        do {
            try file.writeAll(content, path)
            let (number, folder) = (file.number, directory.number)
            // The mode of open(2) is less what the caller's umask takes.
            try systemCall("fchmod", "cannot write \(path)") { fchmod(number, mode) }
            try file.synchronizeData(path)
            try systemCall("renameat", "cannot replace \(path)") { renameat(folder, temporary, folder, name) }
        } catch {
            try? remove(temporary, at: directory, path)
            throw error
        }
    }

    private func requireFile(in directory: borrowing Descriptor) throws(Failure) {
        let what = "cannot replace \(path)"
        var status = stat()
        let number = directory.number
        do {
            try systemCall("fstatat", what) { fstatat(number, name, &status, AT_SYMLINK_NOFOLLOW) }
        } catch let error where error.code == ENOENT {
            return
        }
        // A link is replaced itself.
        guard [S_IFREG, S_IFLNK].contains(status.st_mode & S_IFMT) else {
            throw Failure(what, because: "it is no regular file")
        }
    }
}
