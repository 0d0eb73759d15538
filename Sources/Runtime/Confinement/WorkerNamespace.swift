import CLinux
import Glibc
import Platform

/// The namespaces of a worker that another process makes for it. namespaces(7)
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

    /// Makes a network namespace, which has nothing but a loopback that is down, and leaves it again. network_namespaces(7)
    ///
    /// It is made here, beside a worker that loads its libraries, since the kernel takes half a millisecond for it. Needs
    /// CAP_SYS_ADMIN.
    public static func makeNetwork() throws(Failure) -> Descriptor {
        let what = "cannot make a network namespace for the worker"
        let procfs = try Procfs()
        let own = try procfs.namespace(.network)
        try systemCall("unshare", what) { unshare(clinux_clone_newnet) }
        do throws(Failure) {
            let made = try procfs.namespace(.network)
            guard try !made.isSameNamespace(as: own) else {
                throw Failure(what, because: "the kernel made none")
            }
            try systemCall("setns", what) { setns(own.number, clinux_clone_newnet) }
            return made
        } catch {
            _ = setns(own.number, clinux_clone_newnet)
            throw error
        }
    }
}
