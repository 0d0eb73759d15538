import CLinux
import Glibc
import Platform

extension Configuration {
    /// The largest file that is read, in bytes.
    static let sizeLimit = 64 << 10

    /// Reads the file.
    ///
    /// A missing one stands for the defaults, unless it must be there because somebody named it. It must belong to root,
    /// or to the caller, and be writable by nobody else, and hold 64 KiB at most.
    public static func load(
        path: String = standardPath,
        mayBeMissing: Bool = true
    ) throws(Failure) -> Configuration {
        let file: Descriptor
        do {
            file = try .openFile(path, .read)
        } catch let error where error.code == ENOENT && mayBeMissing && !exists(path) {
            return Configuration()
        }
        let what = "cannot read \(path)"
        let status = try file.status(path)
        guard status.st_uid == 0 || status.st_uid == geteuid(), status.st_mode & 0o022 == 0 else {
            throw Failure(
                what,
                because: "another user could change it",
                hint: "chown root: \(path) && chmod 0644 \(path)"
            )
        }
        return try Configuration(parsing: file.readAll(limit: sizeLimit, path), path: path)
    }

    /// Whether there is something of this name, even if it is a link to nothing, which is not the same as no file.
    private static func exists(_ path: String) -> Bool {
        var status = stat()
        return lstat(path, &status) == 0
    }
}
