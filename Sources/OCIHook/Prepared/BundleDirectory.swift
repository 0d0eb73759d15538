import CLinux
import Glibc
import Platform
import RuntimeLease

/// A bundle's directory, in which `config.json` is exchanged for the time of one creation.
///
/// The original keeps its inode, with owner, mode, label and times: it has another name meanwhile, and gets its own back by
/// one rename(2). Links are not followed, and nothing outside of the directory is touched.
struct BundleDirectory: ~Copyable {
    /// The name of the original while another file has its own.
    static let originalName = ".config.json.container-vtpm"
    private static let name = "config.json"
    /// The name of the other file until it is whole.
    private static let unfinishedName = ".config.json.container-vtpm.new"

    /// The bundle's absolute path, without links.
    let path: String
    private let directory: Descriptor

    /// Opens the directory; links in its path are followed, as the runtime follows them.
    init(_ given: String) throws(Failure) {
        guard let resolved = realpath(given, nil) else {
            throw Failure("cannot find the bundle \(given)", call: "realpath", code: errno)
        }
        let path = String(cString: resolved)
        free(resolved)
        let directory = try Descriptor.open(path, .withoutMagicLinks(openPathOnly | O_DIRECTORY))
        self.path = path
        self.directory = directory
    }

    private var configPath: String { "\(path)/\(Self.name)" }

    /// The status of an entry of the directory, by which it is known again.
    private struct Entry: Equatable {
        var (device, inode, size) = (dev_t(), ino_t(), off_t())
        var (seconds, nanoseconds) = (0, 0)
        var (user, group, mode) = (uid_t(), gid_t(), mode_t())

        init(_ status: stat) {
            (device, inode, size) = (status.st_dev, status.st_ino, status.st_size)
            (seconds, nanoseconds) = (status.st_mtim.tv_sec, status.st_mtim.tv_nsec)
            (user, group, mode) = (status.st_uid, status.st_gid, status.st_mode)
        }

        var isFile: Bool { mode & S_IFMT == S_IFREG }
    }

    private borrowing func entry(_ name: String) throws(Failure) -> Entry? {
        try directory.status(of: name, "\(path)/\(name)").map { Entry($0) }
    }

    /// Reads `config.json`.
    borrowing func readConfig() throws(Failure) -> [UInt8] {
        let file = try Descriptor.openFile(Self.name, .beneath(O_RDONLY), at: directory.number, as: configPath)
        return try file.readAll(limit: BundleConfig.sizeLimit, configPath)
    }

    /// Puts other contents in the place of `config.json`, which must have these contents now.
    ///
    /// Either name leads to a whole file at any moment, also after a power failure. `whenWritten` is called before the
    /// exchange.
    borrowing func exchange(
        _ original: [UInt8],
        for contents: [UInt8],
        whenWritten: () -> Void = {}
    ) throws(Failure) {
        let what = "cannot change \(configPath)"
        guard let before = try entry(Self.name), before.isFile else {
            throw Failure(what, because: "it is no regular file of the bundle's own")
        }
        guard try readConfig() == original else { throw changed(what) }
        try removeUnfinished()
        try write(contents, like: before, what)
        whenWritten()
        do {
            try rename(what)
        } catch {
            try removeOther()
            throw error
        }
        guard try entry(Self.originalName) == before else {
            // What somebody has put there since it was read gets its name back.
            try rename(what)
            try removeOther()
            throw changed(what)
        }
    }

    /// Removes what has the original's name and is none.
    private borrowing func removeOther() throws(Failure) {
        try remove(Self.originalName, at: directory, "\(path)/\(Self.originalName)")
    }

    /// Removes what a write that was cut short has left.
    private borrowing func removeUnfinished() throws(Failure) {
        try remove(Self.unfinishedName, at: directory, "\(path)/\(Self.unfinishedName)")
    }

    private func changed(_ what: String) -> Failure {
        Failure(what, because: "somebody else changes it", hint: "create the container again")
    }

    private borrowing func write(_ contents: [UInt8], like before: Entry, _ what: String) throws(Failure) {
        let name = "\(path)/\(Self.unfinishedName)"
        let options = OpenOptions.beneath(O_WRONLY | O_CREAT | O_EXCL, mode: 0o600)
        let file = try Descriptor.openFile(Self.unfinishedName, options, at: directory.number, as: name)
        let (number, parent) = (file.number, directory.number)
        do {
            try file.writeAll(contents, name)
            try systemCall("fchown", what) { fchown(number, before.user, before.group) }
            try systemCall("fchmod", what) { fchmod(number, before.mode & 0o7777) }
            try file.synchronizeData(name)
            try systemCall("renameat2", what) {
                renameat2(parent, Self.unfinishedName, parent, Self.originalName, clinux_rename_noreplace)
            }
        } catch {
            try removeUnfinished()
            throw error
        }
    }

    private borrowing func rename(_ what: String) throws(Failure) {
        let number = directory.number
        do {
            try systemCall("renameat2", what) {
                renameat2(number, Self.originalName, number, Self.name, clinux_rename_exchange)
            }
        } catch let error where error.code == EINVAL || error.code == ENOSYS {
            throw error.withHint(
                "the bundle's file system cannot exchange two files: put it on another, or use the hook"
            )
        }
    }

    /// Returns whether the original is there under its other name.
    borrowing func isExchanged() throws(Failure) -> Bool { try entry(Self.originalName)?.isFile ?? false }

    /// Puts the original back, if there is one; returns whether there was.
    ///
    /// A `config.json` that names no prepared vTPM is somebody else's new one, and stays. So does the other file, if it
    /// belongs to another user: then it is not the original.
    borrowing func restore() throws(Failure) -> Bool {
        let what = "cannot put back \(configPath)"
        guard let original = try entry(Self.originalName), original.isFile else { return false }
        let current = try entry(Self.name)
        guard current == nil || current?.user == original.user else {
            throw Failure(what, because: "\(Self.originalName) beside it belongs to another user")
        }
        if current != nil, try !PreparedConfig.isPrepared(readConfig(), path: configPath) {
            try removeOther()
            return false
        }
        let number = directory.number
        try systemCall("renameat", what) { renameat(number, Self.originalName, number, Self.name) }
        return true
    }

    /// The number that stands for the directory in ``BundleLock``.
    borrowing func lockNumber() throws(Failure) -> Int {
        let status = try directory.status(path)
        let mixed = UInt64(status.st_dev) &* 0x9e37_79b9_7f4a_7c15 ^ UInt64(status.st_ino)
        return Int(mixed & 0x3fff_ffff_ffff_ffff)
    }
}

// Who may put `config.json` back.
extension BundleDirectory {
    /// Returns the ID of a container that is being created from the bundle, whose runtime lives.
    ///
    /// That runtime may not have read `config.json` yet: without the hook in it the container would start without a TPM. The
    /// lease with the name `own` is the caller's, which knows that its runtime has read the file, or never will.
    borrowing func user(in runDirectory: borrowing Descriptor, but own: String? = nil) throws(Failure) -> String? {
        var user: String?
        let bundle = path
        _ = try Leases.each(in: runDirectory) { (opened, lease) throws(Failure) in
            guard opened.name != own, let lease, lease.bundle.utf8.elementsEqual(bundle.utf8),
                try lease.container.isAlive(), try opened.isPrepared()
            else { return }
            user = lease.containerID
        }
        return user
    }

    /// Puts the original back unless somebody uses what is in its place; returns whether nobody does.
    @discardableResult
    borrowing func restoreUnlessUsed(
        in runDirectory: borrowing Descriptor,
        but own: String? = nil
    ) throws(Failure) -> Bool {
        guard let lock = try BundleLock.tryTake(of: self, in: runDirectory) else { return false }
        guard try user(in: runDirectory, but: own) == nil else { return false }
        _ = try restore()
        lock.release()
        return true
    }
}
