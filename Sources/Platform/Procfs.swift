import CLinux
import Glibc

/// The process file system of this process's own namespace.
///
/// What only looks like one could show a process what it likes, and take any write: CVE-2025-52881. So it is opened, must
/// be that file system, and nothing that is mounted over a part of it is used.
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

    /// Opens one of a process's namespaces; `self` is this process.
    ///
    /// The link in `ns` leads to another file system by itself (proc(5)), so the last step is one of its own.
    public borrowing func namespace(
        _ name: String,
        of process: String,
        _ flags: CInt = O_RDONLY
    ) throws(Failure) -> Descriptor {
        let namespaces = try open("\(process)/ns", openPathOnly | O_DIRECTORY)
        return try .open(name, OpenOptions(flags), at: namespaces.number, as: "/proc/\(process)/ns/\(name)")
    }

    /// Opens a process's mount namespace.
    public borrowing func mountNamespace(of process: String) throws(Failure) -> Descriptor {
        try namespace("mnt", of: process)
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
}
