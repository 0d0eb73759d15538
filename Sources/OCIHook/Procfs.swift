import CLinux
import Glibc
import Platform

/// The process file system of the hook's own namespace.
///
/// What only looks like one could show a process what it likes, and take any write: CVE-2025-52881. So it is opened
/// once, must be that file system, and nothing that is mounted over a part of it is used.
struct Procfs: ~Copyable {
    private let directory: Descriptor

    /// Opens it where it is mounted.
    init(at path: String = "/proc") throws(Failure) {
        let directory = try Descriptor.open(path, .directory)
        guard try directory.fileSystemMagic(path) == Int(PROC_SUPER_MAGIC) else {
            throw Failure("cannot use \(path)", because: "it is no process file system")
        }
        self.directory = directory
    }

    /// Opens something below `/proc`.
    borrowing func open(_ path: String, _ flags: CInt = O_RDONLY) throws(Failure) -> Descriptor {
        try .open(path, .onOneMount(flags), at: directory.number, as: "/proc/\(path)")
    }

    /// Reads a file below `/proc`; more than `limit` bytes are an error.
    borrowing func read(_ path: String, limit: Int = 1 << 24) throws(Failure) -> [UInt8] {
        let file = try open(path)
        return try file.readAll(limit: limit, "/proc/\(path)")
    }

    /// Opens a process's mount namespace.
    ///
    /// The link in `ns` leads to another file system by itself (proc(5)), so the last step is one of its own.
    borrowing func mountNamespace(of process: String) throws(Failure) -> Descriptor {
        let namespaces = try open("\(process)/ns", O_RDONLY | O_DIRECTORY)
        return try .open("mnt", .read, at: namespaces.number, as: "/proc/\(process)/ns/mnt")
    }
}
