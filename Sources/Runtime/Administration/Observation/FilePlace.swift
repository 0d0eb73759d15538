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
    /// The directory may be another user's, who could put a link at the temporary name: that is never followed.
    public func replace(_ content: [UInt8], mode: mode_t, in directory: borrowing Descriptor) throws(Failure) {
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
}
