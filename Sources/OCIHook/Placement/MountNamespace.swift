import CLinux
import Glibc
import Platform

/// The hook's work in other mount namespaces, from which it always returns to the host's. mount_namespaces(7)
///
/// setns(2) needs a process with one thread.
enum MountNamespace {
    /// Runs `body` in a mount namespace of the hook's own, which nobody else ever sees and which ends with it.
    static func runInPrivate<Result: ~Copyable>(
        _ body: () throws(Failure) -> Result
    ) throws(Failure) -> Result {
        let what = "cannot enter a private mount namespace"
        return try run(entering: { () throws(Failure) in
            try systemCall("unshare", what) { unshare(clinux_clone_newns) }
        }) { () throws(Failure) in
            // Where the host's mounts are shared, ours would appear there as well.
            try systemCall("mount MS_PRIVATE", what) { mount(nil, "/", nil, UInt(MS_REC | MS_PRIVATE), nil) }
            return try body()
        }
    }

    /// Runs `body` in the mount namespace of a process.
    ///
    /// A pidfd suffices, since Linux 5.8; it cannot mean another process.
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

    /// Returns to the host's; ends the process if that fails, before it takes another's files for the host's.
    private static func leave(to host: borrowing Descriptor) {
        guard setns(host.number, clinux_clone_newns) == 0 else {
            Log.error("cannot return to the host's mount namespace: \(String(cString: strerror(errno)))")
            exit(1)
        }
    }
}
