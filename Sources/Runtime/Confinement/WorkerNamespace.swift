import CLinux
import Glibc
import Platform

/// The PID namespace of a worker, which is its first process. pid_namespaces(7)
public enum WorkerNamespace {
    /// Starts a program as the first process of a new PID namespace, in which it cannot see or signal other processes.
    ///
    /// unshare(2) applies to all later children, so setns(2) restores this process's own namespace for the next ones.
    /// Needs CAP_SYS_ADMIN.
    public static func start(_ launch: ProgramLaunch) throws(Failure) -> ChildProcess {
        let what = "cannot start \(launch.path) in a PID namespace of its own"
        let own = try Procfs().namespace(.pid)
        try systemCall("unshare", what) { unshare(clinux_clone_newpid) }
        let child: ChildProcess
        do {
            child = try launch.start()
        } catch {
            _ = setns(own.number, clinux_clone_newpid)
            throw error
        }
        do {
            try systemCall("setns", what) { setns(own.number, clinux_clone_newpid) }
        } catch {
            _ = try? child.end()
            throw error
        }
        return child
    }
}
