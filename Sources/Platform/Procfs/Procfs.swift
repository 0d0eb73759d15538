import CLinux
import Glibc

/// The process file system of this process's PID namespace.
///
/// A directory that only looks like it could show anything, and accept any write (CVE-2025-52881). So its file system
/// is checked when it is opened, and nothing that is mounted over a part of it is used.
///
/// In all calls, nil in place of a process means this one. By the time that `/proc/PID` is read, it can be another
/// process's. What was read is certain only if the process's pidfd says afterwards that the process is still alive.
public struct Procfs: ~Copyable {
    private let directory: Descriptor

    /// Opens it at the path at which it is mounted.
    public init(at path: String = "/proc") throws(Failure) {
        let directory = try Descriptor.open(path, .directory)
        guard try directory.fileSystemMagic(path) == Int(PROC_SUPER_MAGIC) else {
            throw Failure("cannot use \(path)", because: "it is no process file system")
        }
        self.directory = directory
    }

    /// Opens a file or directory below `/proc`.
    public borrowing func open(_ path: String, _ flags: CInt = O_RDONLY) throws(Failure) -> Descriptor {
        try .open(path, .onOneMount(flags), at: directory.number, as: "/proc/\(path)")
    }

    /// Reads a file below `/proc`; more than `limit` bytes are an error.
    public borrowing func read(_ path: String, limit: Int = 1 << 24) throws(Failure) -> [UInt8] {
        let file = try open(path)
        return try file.readAll(limit: limit, "/proc/\(path)")
    }

    /// Returns the target of a link that the kernel makes for something that a process uses.
    public borrowing func link(_ path: String) throws(Failure) -> String {
        var buffer = [UInt8](repeating: 0, count: Int(PATH_MAX))
        let number = directory.number
        let count = try systemCall("readlink", "cannot examine /proc/\(path)") {
            buffer.withUnsafeMutableBytes {
                guard let start = $0.baseAddress else { return 0 }
                return readlinkat(number, path, start.assumingMemoryBound(to: CChar.self), $0.count)
            }
        }
        return String(decoding: buffer[..<count], as: UTF8.self)
    }

    /// Returns the path below `/proc` of one of a process's files.
    static func path(_ file: String, of process: pid_t?) -> String {
        guard let process else { return "self/\(file)" }
        return "\(process)/\(file)"
    }
}

extension Procfs {
    /// Reads what the kernel says of a process's users, capabilities and memory.
    public borrowing func status(of process: pid_t? = nil) throws(Failure) -> ProcessStatus {
        ProcessStatus(try read(Self.path("status", of: process), limit: 1 << 20))
    }

    /// Reads when a process was started, in clock ticks since boot.
    public borrowing func startTime(of process: pid_t? = nil) throws(Failure) -> UInt64 {
        let path = Self.path("stat", of: process)
        guard let time = ProcessStat.startTime(try read(path, limit: 4096)) else {
            throw Failure("cannot read /proc/\(path)", because: "it has no start time")
        }
        return time
    }

    /// Reads the mounts that a process sees.
    public borrowing func mountInfo(of process: pid_t? = nil) throws(Failure) -> [MountInfo] {
        let path = Self.path("mountinfo", of: process)
        return try MountInfo.parse(read(path), path: "/proc/\(path)")
    }

    /// Reads which cgroups a process is in, one for each hierarchy.
    public borrowing func cgroups(of process: pid_t? = nil) throws(Failure) -> [CgroupMembership] {
        let path = Self.path("cgroup", of: process)
        return try CgroupMembership.parse(read(path), path: "/proc/\(path)")
    }
}

extension Procfs {
    /// A kind of namespace, by the name of its link. namespaces(7)
    public enum Namespace: String, Sendable {
        case mount = "mnt"
        case network = "net"
        case ipc
        case uts
        case pid
        case cgroup
        case user
        case time
    }

    /// Opens one of a process's namespaces, or one of the calling thread's, which unshare(2) and setns(2) change.
    ///
    /// The links in `ns` lead to another file system (proc(5)), so the last step is a call of its own.
    public borrowing func namespace(
        _ kind: Namespace,
        of process: pid_t? = nil,
        _ flags: CInt = O_RDONLY
    ) throws(Failure) -> Descriptor {
        let path = process == nil ? "thread-self/ns" : Self.path("ns", of: process)
        let namespaces = try open(path, openPathOnly | O_DIRECTORY)
        return try .open(
            kind.rawValue,
            OpenOptions(flags),
            at: namespaces.number,
            as: "/proc/\(path)/\(kind.rawValue)"
        )
    }

    /// Returns whether another process is in the same namespace as this one.
    public borrowing func sharesNamespace(_ kind: Namespace, with process: pid_t) throws(Failure) -> Bool {
        // O_PATH is enough to compare them.
        try namespace(kind, openPathOnly).isSameNamespace(as: namespace(kind, of: process, openPathOnly))
    }
}

extension Descriptor {
    /// Returns whether both are the same namespace: whether their files are the same. namespaces(7)
    public borrowing func isSameNamespace(as other: borrowing Descriptor) throws(Failure) -> Bool {
        let (own, other) = (try status("a namespace"), try other.status("a namespace"))
        return own.st_dev == other.st_dev && own.st_ino == other.st_ino
    }
}

extension Failure {
    /// Returns the error about a line of a kernel's file that does not have the form in its manual page.
    public static func malformed(_ line: ArraySlice<UInt8>, in path: String) -> Failure {
        Failure("cannot read \(path)", because: "a line of it is \"\(String(decoding: line, as: UTF8.self).excerpt)\"")
    }
}
