import CLinux
import Glibc
import Platform

/// An inspection of a worker's confinement from outside, in procfs. proc(5)
///
/// The supervisor makes it before it sends the TPM's state. The worker cannot undo any of these restrictions.
public enum WorkerInspection {
    /// Throws if the process is not completely confined.
    ///
    /// A worker has three standard descriptors, the channel, those by which it watches its container, and, once it
    /// serves, its device. Needs CAP_SYS_PTRACE.
    public static func require(
        _ process: pid_t,
        confinedAs user: WorkerUser,
        watchingWith watchCount: Int = 1,
        isServing: Bool = false
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
        // The files in a process's directory belong to its user if it is dumpable, otherwise to root. proc(5)
        guard try procfs.open("\(process)/status").status("/proc/\(process)").st_uid == 0 else {
            throw Failure(what, because: "others of its user could look into it")
        }
        let descriptors = try entries(of: procfs.open("\(process)/fd", O_RDONLY | O_DIRECTORY), "/proc/\(process)/fd")
        guard descriptors.count <= 4 + watchCount + (isServing ? 1 : 0) else {
            throw Failure(what, because: "it has \(descriptors.count) descriptors")
        }
        let mounts = try procfs.mountInfo(of: process)
        guard mounts.count == 1, mounts[0].type == "tmpfs", mounts[0].source == "empty" else {
            throw Failure(what, because: "it sees \(mounts.count) mounts")
        }
    }

    /// Returns whether all memory of the worker is locked: whether `VmLck` in proc_pid_status(5) is not 0.
    ///
    /// Otherwise only the buffers that hold a state in transit are locked.
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
