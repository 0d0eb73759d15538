import CLinux
import Glibc

/// A file descriptor that has one owner, and is closed with it. open(2)
@frozen
public struct Descriptor: ~Copyable, Sendable {
    /// The number, for a system call; it must not outlive the owner.
    public let number: CInt

    /// Takes ownership of an open descriptor.
    public init(owning number: CInt) {
        self.number = number
    }

    deinit {
        // The result is of no use: the descriptor is gone in any case (close(2), NOTES).
        _ = Glibc.close(number)
    }

    /// Gives up ownership; the caller has to close the number.
    public consuming func release() -> CInt {
        let number = self.number
        discard self
        return number
    }

    /// Returns a second descriptor of the same open file, with close-on-exec. fcntl(2), F_DUPFD_CLOEXEC
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

    /// Returns the status of the file to which the descriptor refers. fstat(2)
    public borrowing func status(_ name: @autoclosure () -> String) throws(Failure) -> stat {
        var status = stat()
        let number = self.number
        try systemCall("fstat", "cannot examine \(name())") { fstat(number, &status) }
        return status
    }

    /// Returns the magic number of the file system that the file is on. fstatfs(2)
    public borrowing func fileSystemMagic(_ name: @autoclosure () -> String) throws(Failure) -> Int {
        Int(try fileSystem(name()).f_type)
    }

    /// Returns the size of a block of the file system that the file is on, in bytes. fstatfs(2)
    public borrowing func blockSize(_ name: @autoclosure () -> String) throws(Failure) -> Int {
        Int(try fileSystem(name()).f_bsize)
    }

    private borrowing func fileSystem(_ name: @autoclosure () -> String) throws(Failure) -> statfs {
        var status = statfs()
        let number = self.number
        try systemCall("fstatfs", "cannot examine the file system of \(name())") { fstatfs(number, &status) }
        return status
    }
}

/// How a path is opened: the flags of open(2), and the links and mounts that may be followed on the way.
public struct OpenOptions: Sendable {
    var flags: CInt
    var mode: mode_t
    var resolve: UInt64?

    /// Creates options with the flags of open(2), to which O_CLOEXEC is always added.
    public init(_ flags: CInt, mode: mode_t = 0) {
        self.flags = flags
        self.mode = mode
        self.resolve = nil
    }

    /// Returns options to open one entry of a directory that somebody else may have filled.
    ///
    /// No symbolic or magic link is followed, and nothing outside the directory is opened. openat2(2),
    /// RESOLVE_NO_SYMLINKS, RESOLVE_BENEATH
    public static func beneath(_ flags: CInt, mode: mode_t = 0) -> OpenOptions {
        var options = OpenOptions(flags | O_NOFOLLOW, mode: mode)
        options.resolve = UInt64(RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS)
        return options
    }

    /// Returns options to open something on the same mount as the directory.
    ///
    /// Nothing that is mounted over a part of it is opened. openat2(2), RESOLVE_NO_XDEV
    public static func onOneMount(_ flags: CInt) -> OpenOptions {
        var options = OpenOptions(flags)
        options.resolve = UInt64(RESOLVE_NO_XDEV)
        return options
    }

    /// Returns options to open a path as if the directory were the root.
    ///
    /// Links are followed, and never lead outside. openat2(2), RESOLVE_IN_ROOT
    public static func inRoot(_ flags: CInt) -> OpenOptions {
        var options = OpenOptions(flags)
        options.resolve = UInt64(RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)
        return options
    }

    /// Returns options to open a path that an engine has chosen.
    ///
    /// Such paths often contain links. Only the links that procfs makes for a process's files are refused. openat2(2),
    /// RESOLVE_NO_MAGICLINKS
    public static func withoutMagicLinks(_ flags: CInt) -> OpenOptions {
        var options = OpenOptions(flags)
        options.resolve = UInt64(RESOLVE_NO_MAGICLINKS)
        return options
    }

    /// The same options, without waiting for a pipe or a terminal.
    var withoutWaiting: OpenOptions {
        var options = self
        options.flags |= O_NONBLOCK | O_NOCTTY
        return options
    }

    /// Options to read a file; links in the path are followed.
    public static let read = OpenOptions(O_RDONLY)
    /// Options to open a directory, for calls that name its entries.
    public static let directory = OpenOptions(O_RDONLY | O_DIRECTORY)
}

extension Descriptor {
    /// Opens an absolute path, or one that is relative to a directory.
    ///
    /// Errors name the object `name`, or its path if there is no name.
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

/// O_PATH of open(2), which Swift's Glibc module does not import.
public let openPathOnly = clinux_o_path
