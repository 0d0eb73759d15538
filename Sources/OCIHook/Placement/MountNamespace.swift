import CLinux
import Glibc
import Platform

/// Runs code in other mount namespaces, and always returns to the host's. mount_namespaces(7)
///
/// setns(2) needs a process with one thread.
enum MountNamespace {
    /// Runs `body` in a new mount namespace, which no other process sees and which ends afterwards.
    static func runInPrivate<Result: ~Copyable>(
        _ body: () throws(Failure) -> Result
    ) throws(Failure) -> Result {
        let what = "cannot enter a private mount namespace"
        return try run(entering: { () throws(Failure) in
            try systemCall("unshare", what) { unshare(clinux_clone_newns) }
        }) { () throws(Failure) in
            // If the host's mounts are shared, new mounts would propagate to it.
            try systemCall("mount MS_PRIVATE", what) { mount(nil, "/", nil, UInt(MS_REC | MS_PRIVATE), nil) }
            return try body()
        }
    }

    /// Runs `body` in the mount namespace of a process.
    ///
    /// setns(2) takes a pidfd since Linux 5.8, which never refers to another process.
    static func run<Result: ~Copyable>(
        in process: borrowing ProcessHandle,
        _ body: () throws(Failure) -> Result
    ) throws(Failure) -> Result {
        let number = process.descriptor.number
        return try run(
            entering: { () throws(Failure) in
                try systemCall("setns", "cannot enter the container's mount namespace") {
                    setns(number, clinux_clone_newns)
                }
            },
            body
        )
    }

    private static func run<Result: ~Copyable>(
        entering enter: () throws(Failure) -> Void,
        _ body: () throws(Failure) -> Result
    ) throws(Failure) -> Result {
        let host = try Procfs().namespace(.mount)
        try enter()
        defer { leave(to: host) }
        return try body()
    }

    /// Returns to the host's namespace.
    ///
    /// If that fails, it ends the process, which would otherwise take the container's files for the host's.
    private static func leave(to host: borrowing Descriptor) {
        guard setns(host.number, clinux_clone_newns) == 0 else {
            Log.error("cannot return to the host's mount namespace: \(String(cString: strerror(errno)))")
            exit(1)
        }
    }
}
