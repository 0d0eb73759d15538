import Glibc
import Platform

/// The first process of a container, and what the kernel says of it.
struct ContainerInit: ~Copyable {
    let process: ProcessHandle
    let identity: ProcessID
    /// The user namespace's maps.
    let users: UserNamespace
    /// The hook's own procfs.
    let procfs: Procfs

    /// Takes the process that a container's state names; refuses one that does not stand for the whole container.
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

/// Refuses a container whose init does not stand for all of it.
///
/// In the hook's own mount namespace, what is mounted for the container would be mounted on the host. And only the first
/// process of a PID namespace takes all others with it when it ends (pid_namespaces(7)): of any other, a child could live
/// on with its device node, and find there the next container's TPM, which gets the same number.
func requireNamespaces(of initProcess: borrowing ProcessHandle, _ procfs: borrowing Procfs) throws(Failure) {
    let what = "cannot give the container its TPM"
    let sharesMounts = try procfs.sharesNamespace(.mount, with: initProcess.process)
    let status = try procfs.status(of: initProcess.process)
    // /proc/PID meant this process only if it is still there.
    guard try initProcess.isAlive() else { throw Failure(what, because: "the container's init ended") }
    guard !sharesMounts else { throw Failure(what, because: "it has no mount namespace of its own") }
    guard status.isFirstInPIDNamespace else { throw sharedPIDNamespace(what) }
}

/// What is said of a container that shares a PID namespace, in the words of those who ask for it.
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
