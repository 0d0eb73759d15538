import CLinux
import Glibc
import Platform

/// A look from outside at whether a worker is confined, by what the kernel says of it. proc(5)
///
/// It is made before the worker is given a TPM's state, and none of this can be undone by the worker.
public enum WorkerInspection {
    /// Throws unless the process has given up everything that it has to.
    ///
    /// Before it serves a device it has five descriptors: the standard ones, the channel, the init's pidfd.
    /// Needs CAP_SYS_PTRACE.
    public static func require(
        _ process: pid_t,
        confinedAs user: WorkerUser,
        descriptors limit: Int = 5
    ) throws(Failure) {
        let what = "cannot trust the worker"
        let procfs = try Procfs()
        let status = ProcessStatus(try text("status", of: process, procfs))
        for (field, expected) in expectedStatus(user) {
            let found = status[field]
            guard found == expected else {
                throw Failure(what, because: "\(field) of its process is \"\(found ?? "")\", not \"\(expected)\"")
            }
        }
        for namespace in ["mnt", "net", "ipc", "uts", "pid"] {
            guard try identity(namespace, of: "\(process)", procfs) != identity(namespace, of: "self", procfs) else {
                throw Failure(what, because: "it has the supervisor's \(namespace) namespace")
            }
        }
        // What is in the process's directory belongs to its user, unless it cannot be dumped.
        guard try procfs.open("\(process)/status").status("/proc/\(process)").st_uid == 0 else {
            throw Failure(what, because: "others of its user could look into it")
        }
        let descriptors = try entries(of: procfs.open("\(process)/fd", O_RDONLY | O_DIRECTORY), "/proc/\(process)/fd")
        guard descriptors.count <= limit else {
            throw Failure(what, because: "it has \(descriptors.count) descriptors")
        }
        let mounts = try text("mountinfo", of: process, procfs).split(separator: "\n")
        // Type and source come after the separator. proc_pid_mountinfo(5)
        let described = mounts.first?.split(separator: " ").drop { $0 != "-" }.dropFirst().prefix(2)
        guard mounts.count == 1, described.map(Array.init) == ["tmpfs", "empty"] else {
            throw Failure(what, because: "it sees \(mounts.count) mounts")
        }
    }

    /// Whether all of its memory is locked, or only the buffers that hold a state on its way.
    public static func hasLockedMemory(_ process: pid_t) throws(Failure) -> Bool {
        let status = ProcessStatus(try text("status", of: process, Procfs()))
        return status["VmLck"]?.first != "0"
    }

    private static func expectedStatus(_ user: WorkerUser) -> [(field: String, value: String)] {
        let four = Array(repeating: "\(user.number)", count: 4).joined(separator: "\t")
        let nothing = "0000000000000000"
        return [
            ("Uid", four), ("Gid", four), ("Groups", ""),
            ("CapInh", nothing), ("CapPrm", nothing), ("CapEff", nothing), ("CapBnd", nothing), ("CapAmb", nothing),
            ("NoNewPrivs", "1"), ("Seccomp", "2"), ("Threads", "1"),
        ]
    }

    private static func text(_ file: String, of process: pid_t, _ procfs: borrowing Procfs) throws(Failure) -> String {
        String(decoding: try procfs.read("\(process)/\(file)", limit: 65536), as: UTF8.self)
    }

    private static func identity(
        _ namespace: String,
        of process: String,
        _ procfs: borrowing Procfs
    ) throws(Failure) -> [UInt64] {
        let status = try procfs.namespace(namespace, of: process, openPathOnly).status("a namespace")
        return [UInt64(status.st_dev), UInt64(status.st_ino)]
    }
}

/// The fields of `/proc/PID/status`. proc(5)
struct ProcessStatus {
    private let fields: [Substring: String]

    init(_ text: String) {
        var fields: [Substring: String] = [:]
        for line in text.split(separator: "\n") {
            let parts = line.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
            guard parts.count == 2 else { continue }
            var value = parts[1].drop { $0 == "\t" || $0 == " " }
            while value.last == " " { value.removeLast() }
            fields[parts[0]] = String(value)
        }
        self.fields = fields
    }

    subscript(name: String) -> String? { fields[Substring(name)] }
}
