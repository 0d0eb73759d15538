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
        let status = try procfs.status(of: process)
        for (field, expected) in expectedStatus(user) {
            let found = status[field]
            guard found == expected else {
                throw Failure(what, because: "\(field) of its process is \"\(found ?? "")\", not \"\(expected)\"")
            }
        }
        for namespace in [Procfs.Namespace.mount, .network, .ipc, .uts, .pid] {
            guard try !procfs.sharesNamespace(namespace, with: process) else {
                throw Failure(what, because: "it has the supervisor's \(namespace.rawValue) namespace")
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
        let mounts = try procfs.mountInfo(of: process)
        guard mounts.count == 1, mounts[0].type == "tmpfs", mounts[0].source == "empty" else {
            throw Failure(what, because: "it sees \(mounts.count) mounts")
        }
    }

    /// Whether all of its memory is locked, or only the buffers that hold a state on its way.
    public static func hasLockedMemory(_ process: pid_t) throws(Failure) -> Bool {
        let status = try Procfs().status(of: process)
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
}
