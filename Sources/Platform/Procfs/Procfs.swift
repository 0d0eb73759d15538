import CLinux
import Glibc

/// The process file system of this process's own namespace.
///
/// What only looks like one could show a process what it likes, and take any write: CVE-2025-52881. So it is opened, must
/// be that file system, and nothing that is mounted over a part of it is used.
///
/// Where a process is asked for, nil is this one. `/proc/PID` can be another process's by the time that it is read: only
/// what is read before the process's pidfd still says that it is alive was certainly its own.
public struct Procfs: ~Copyable {
    private let directory: Descriptor

    /// Opens it where it is mounted.
    public init(at path: String = "/proc") throws(Failure) {
        let directory = try Descriptor.open(path, .directory)
        guard try directory.fileSystemMagic(path) == Int(PROC_SUPER_MAGIC) else {
            throw Failure("cannot use \(path)", because: "it is no process file system")
        }
        self.directory = directory
    }

    /// Opens something below `/proc`.
    public borrowing func open(_ path: String, _ flags: CInt = O_RDONLY) throws(Failure) -> Descriptor {
        try .open(path, .onOneMount(flags), at: directory.number, as: "/proc/\(path)")
    }

    /// Reads a file below `/proc`; more than `limit` bytes are an error.
    public borrowing func read(_ path: String, limit: Int = 1 << 24) throws(Failure) -> [UInt8] {
        let file = try open(path)
        return try file.readAll(limit: limit, "/proc/\(path)")
    }

    /// Where a link leads that the kernel makes of something that a process uses.
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

    /// The path below `/proc` of one of a process's files.
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
    }

    /// Opens one of a process's namespaces.
    ///
    /// The link in `ns` leads to another file system by itself (proc(5)), so the last step is one of its own.
    public borrowing func namespace(
        _ kind: Namespace,
        of process: pid_t? = nil,
        _ flags: CInt = O_RDONLY
    ) throws(Failure) -> Descriptor {
        let path = Self.path("ns", of: process)
        let namespaces = try open(path, openPathOnly | O_DIRECTORY)
        return try .open(
            kind.rawValue,
            OpenOptions(flags),
            at: namespaces.number,
            as: "/proc/\(path)/\(kind.rawValue)"
        )
    }

    /// Whether another process is in the same namespace as this one.
    public borrowing func sharesNamespace(_ kind: Namespace, with process: pid_t) throws(Failure) -> Bool {
        // O_PATH does: two namespaces are the same if their files are.
        let (own, other) = (
            try namespace(kind, openPathOnly).status("a namespace"),
            try namespace(kind, of: process, openPathOnly).status("a namespace")
        )
        return own.st_dev == other.st_dev && own.st_ino == other.st_ino
    }
}

extension Failure {
    /// A file of the kernel's with a line that does not have the form that its manual page describes.
    public static func malformed(_ line: ArraySlice<UInt8>, in path: String) -> Failure {
        Failure("cannot read \(path)", because: "a line of it is \"\(String(decoding: line, as: UTF8.self).excerpt)\"")
    }
}
