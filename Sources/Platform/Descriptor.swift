import CLinux
import Glibc

/// A file descriptor with one owner, closed when the owner is gone. open(2)
public struct Descriptor: ~Copyable, Sendable {
    /// The number, for a system call; it must not outlive the owner.
    public let number: CInt

    /// Takes ownership of an open descriptor.
    public init(owning number: CInt) {
        self.number = number
    }

    deinit {
        // The result tells nothing that could be acted on: the descriptor is gone in any case (close(2), NOTES).
        _ = Glibc.close(number)
    }

    /// Gives ownership up: the caller closes it.
    public consuming func release() -> CInt {
        let number = self.number
        discard self
        return number
    }

    /// A second descriptor of the same open file, close-on-exec. fcntl(2), F_DUPFD_CLOEXEC
    public borrowing func duplicate() throws(Failure) -> Descriptor {
        let number = self.number
        return Descriptor(
            owning: try systemCall("fcntl F_DUPFD_CLOEXEC", "cannot duplicate a descriptor") {
                fcntl(number, F_DUPFD_CLOEXEC, 3)
            }
        )
    }

    /// Sets close-on-exec, for a descriptor that the kernel made without it. fcntl(2), F_SETFD
    public borrowing func setCloseOnExec() throws(Failure) {
        let number = self.number
        try systemCall("fcntl F_SETFD", "cannot set close-on-exec") { fcntl(number, F_SETFD, FD_CLOEXEC) }
    }

    /// What the descriptor refers to. fstat(2)
    public borrowing func status(_ name: @autoclosure () -> String) throws(Failure) -> stat {
        var status = stat()
        let number = self.number
        try systemCall("fstat", "cannot examine \(name())") { fstat(number, &status) }
        return status
    }

    /// The magic number of the file system that it lies on. fstatfs(2)
    public borrowing func fileSystemMagic(_ name: @autoclosure () -> String) throws(Failure) -> Int {
        var status = statfs()
        let number = self.number
        try systemCall("fstatfs", "cannot examine the file system of \(name())") { fstatfs(number, &status) }
        return Int(status.f_type)
    }
}

/// How a path is opened: the flags of open(2), and what of the path may be followed.
public struct OpenOptions: Sendable {
    var flags: CInt
    var mode: mode_t
    var resolve: UInt64?

    /// Opens with the flags of open(2); O_CLOEXEC is always added.
    public init(_ flags: CInt, mode: mode_t = 0) {
        self.flags = flags
        self.mode = mode
        self.resolve = nil
    }

    /// Opens one entry of a directory that somebody else may have filled: no symbolic or magic link anywhere, nothing
    /// outside the directory. openat2(2), RESOLVE_NO_SYMLINKS, RESOLVE_BENEATH
    public static func beneath(_ flags: CInt, mode: mode_t = 0) -> OpenOptions {
        var options = OpenOptions(flags | O_NOFOLLOW, mode: mode)
        options.resolve = UInt64(RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS)
        return options
    }

    /// Opens something of a file system that must be the one that the directory is on: nothing that is mounted over a
    /// part of it. openat2(2), RESOLVE_NO_XDEV
    public static func onOneMount(_ flags: CInt) -> OpenOptions {
        var options = OpenOptions(flags)
        options.resolve = UInt64(RESOLVE_NO_XDEV)
        return options
    }

    /// Opens a path with a directory in the place of the root: links are followed, wherever they lead is inside.
    /// openat2(2), RESOLVE_IN_ROOT
    public static func inRoot(_ flags: CInt) -> OpenOptions {
        var options = OpenOptions(flags)
        options.resolve = UInt64(RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)
        return options
    }

    /// Opens a path of an engine's, in which links are usual, but none of those that procfs makes out of processes.
    /// openat2(2), RESOLVE_NO_MAGICLINKS
    public static func withoutMagicLinks(_ flags: CInt) -> OpenOptions {
        var options = OpenOptions(flags)
        options.resolve = UInt64(RESOLVE_NO_MAGICLINKS)
        return options
    }

    /// The same, and no pipe or terminal is waited for.
    var withoutWaiting: OpenOptions {
        var options = self
        options.flags |= O_NONBLOCK | O_NOCTTY
        return options
    }

    /// Reading; links in the path are followed.
    public static let read = OpenOptions(O_RDONLY)
    /// A directory, as an anchor for further calls.
    public static let directory = OpenOptions(O_RDONLY | O_DIRECTORY)
}

extension Descriptor {
    /// Opens an absolute path, or one that is relative to a directory.
    ///
    /// Errors call the object by `name`, or else by its path.
    public static func open(
        _ path: String,
        _ options: OpenOptions,
        at directory: CInt = AT_FDCWD,
        as name: String? = nil
    ) throws(Failure) -> Descriptor {
        let what = "cannot open \(name ?? path)"
        guard let resolve = options.resolve else {
            return Descriptor(
                owning: try systemCall("open", what) {
                    openat(directory, path, options.flags | O_CLOEXEC, options.mode)
                }
            )
        }
        var how = open_how()
        how.flags = UInt64(UInt32(bitPattern: options.flags | O_CLOEXEC))
        how.mode = UInt64(options.mode)
        how.resolve = resolve
        // EAGAIN: a rename or mount raced with the walk, and the kernel asks for another try (openat2(2)).
        var tries = 0
        while true {
            do {
                return Descriptor(
                    owning: try systemCall("openat2", what) { clinux_openat2(directory, path, &how) }
                )
            } catch let error where error.code == EAGAIN && tries < 32 {
                tries += 1
            }
        }
    }
}

/// O_PATH of open(2), which Swift's Glibc module does not show.
public let openPathOnly = clinux_o_path
