import CLinux
import Glibc
import Platform
import TOMLText

extension Configuration {
    /// The largest configuration file that is read, in bytes.
    static let sizeLimit = 64 << 10

    /// Reads and parses the configuration file, of 64 KiB at most.
    ///
    /// A missing file stands for the defaults if `mayBeMissing` is true; a path from an argument must exist. The file
    /// must belong to root or to the caller, and nobody else may be able to write it.
    public static func load(
        path: String = standardPath,
        mayBeMissing: Bool = true
    ) throws(Failure) -> Configuration {
        guard let contents = try read(path, mayBeMissing) else { return Configuration() }
        return try Configuration(parsing: contents, path: path)
    }

    /// Reads the file's table `[runtime]` alone, as ``load(path:mayBeMissing:)`` reads the whole.
    ///
    /// A mistake in another table must not keep a container from being stopped.
    public static func loadRuntime(path: String = standardPath) throws(Failure) -> Runtime {
        guard let contents = try read(path, true) else { return Runtime() }
        let document = try Document(parsing: contents, path: path)
        return try Runtime(in: Section(of: document, file: path, known: Array(document.root.keys))) ?? Runtime()
    }

    /// Returns the file's contents; nil if it is missing and may be.
    private static func read(_ path: String, _ mayBeMissing: Bool) throws(Failure) -> [UInt8]? {
        let file: Descriptor
        do {
            file = try .openFile(path, .read)
        } catch let error where error.code == ENOENT && mayBeMissing && !exists(path) {
            return nil
        }
        let what = "cannot read \(path)"
        let status = try file.status(path)
        guard status.st_uid == 0 || status.st_uid == geteuid(), status.st_mode & 0o022 == 0 else {
            throw Failure(
                what,
                because: "another user could change it",
                hint: "chown root: \(path.shellWord) && chmod 0644 \(path.shellWord)"
            )
        }
        return try file.readAll(limit: sizeLimit, path)
    }

    /// Returns whether the name exists, even as a dangling link: that is not a missing file.
    private static func exists(_ path: String) -> Bool {
        var status = stat()
        return lstat(path, &status) == 0
    }
}
