import CLinux
import Glibc
import Platform

/// The PID namespace that a worker is the first process of. pid_namespaces(7)
public enum WorkerNamespace {
    /// Starts a program as the first process of a new PID namespace, in which it sees and can signal nobody.
    ///
    /// unshare(2) gives one to the next child alone; afterwards children of this process are born into its own again.
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
