import Glibc
import Platform

/// The first process of a container, with the facts that the kernel reports about it.
struct ContainerInit: ~Copyable {
    let process: ProcessHandle
    let identity: ProcessID
    /// Whether it is the first process of a PID namespace of its own, so that all others of the container end with it.
    let isFirstInPIDNamespace: Bool
    /// The ID maps of its user namespace.
    let users: UserNamespace
    /// The procfs of the hook's own mount namespace.
    let procfs: Procfs

    /// Opens the process with the `pid` of a container's state.
    ///
    /// - Throws: ``Failure`` if there is no `pid`, if the process has ended, or if it shares the hook's mount namespace:
    ///   mounting the nodes for the container would mount them on the host.
    init(of pid: pid_t?) throws(Failure) {
        let what = "cannot give the container its TPM"
        guard let pid, pid > 0 else { throw Failure(what, because: "its state has no pid") }
        let process = try ProcessHandle(pid)
        let identity = try ProcessID(of: pid)
        let procfs = try Procfs()
        let sharesMounts = try procfs.sharesNamespace(.mount, with: pid)
        let status = try procfs.status(of: pid)
        // A process ID can be reused: /proc/PID belongs to this process only if it is still alive afterwards.
        guard try process.isAlive() else { throw Failure(what, because: "the container's init ended") }
        guard !sharesMounts else { throw Failure(what, because: "it has no mount namespace of its own") }
        self.users = try UserNamespace(of: process, procfs)
        self.isFirstInPIDNamespace = status.isFirstInPIDNamespace
        self.process = process
        self.identity = identity
        self.procfs = procfs
    }
}
