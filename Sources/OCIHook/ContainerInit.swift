import Glibc
import Platform

/// The first process of a container, with the facts that the kernel reports about it.
struct ContainerInit: ~Copyable {
    let process: ProcessHandle
    let identity: ProcessID
    /// The ID maps of its user namespace.
    let users: UserNamespace
    /// The procfs of the hook's own mount namespace.
    let procfs: Procfs

    /// Opens the process with the `pid` of a container's state.
    ///
    /// - Throws: ``Failure`` if there is no `pid`, if the process has ended, or if it shares a namespace that it must
    ///   not share.
    init(of pid: pid_t?) throws(Failure) {
        guard let pid, pid > 0 else {
            throw Failure("cannot give the container its TPM", because: "its state has no pid")
        }
        let process = try ProcessHandle(pid)
        let identity = try ProcessID(of: pid)
        let procfs = try Procfs()
        try requireNamespaces(of: process, procfs)
        self.users = try UserNamespace(of: process, procfs)
        self.process = process
        self.identity = identity
        self.procfs = procfs
    }
}

/// Refuses a container whose init shares the hook's mount namespace or the PID namespace of another process.
///
/// In the hook's mount namespace, mounting the nodes for the container would mount them on the host. If the first
/// process of a PID namespace ends, the kernel kills all other processes in it (pid_namespaces(7)). After any other
/// init has ended, a child could live on with its device node. It would then reach the TPM of the next container, which
/// gets the same number.
func requireNamespaces(of initProcess: borrowing ProcessHandle, _ procfs: borrowing Procfs) throws(Failure) {
    let what = "cannot give the container its TPM"
    let sharesMounts = try procfs.sharesNamespace(.mount, with: initProcess.process)
    let status = try procfs.status(of: initProcess.process)
    // A process ID can be reused: /proc/PID belongs to this process only if it is still alive afterwards.
    guard try initProcess.isAlive() else { throw Failure(what, because: "the container's init ended") }
    guard !sharesMounts else { throw Failure(what, because: "it has no mount namespace of its own") }
    guard status.isFirstInPIDNamespace else { throw sharedPIDNamespace(what) }
}

/// Returns the error for a shared PID namespace; its hint names the options of podman, Docker and Kubernetes.
func sharedPIDNamespace(_ what: String) -> Failure {
    Failure(
        what,
        because: "its init is not the first process of a PID namespace of its own",
        hint: """
            start it without --pid=host and --pid=container:…, in a pod without hostPID and shareProcessNamespace; or \
            leave the hook out of this container's configuration
            """
    )
}
