import CLinux
import Glibc
import Platform

/// The hook's excursion out of the host's mount namespace: into one of its own, where a tmpfs can be mounted that nobody
/// else ever sees, and into the container's.
///
/// mount_namespaces(7). setns(2) needs a process with one thread.
struct PrivateNamespace: ~Copyable {
    private let host: Descriptor

    /// Enters a mount namespace of the hook's own, from which nothing spreads.
    init() throws(Failure) {
        let what = "cannot enter a private mount namespace"
        let host = try Procfs().mountNamespace(of: "self")
        try systemCall("unshare", what) { unshare(clinux_clone_newns) }
        do {
            // Where the host's mounts are shared, ours would appear there as well.
            try systemCall("mount MS_PRIVATE", what) { mount(nil, "/", nil, UInt(MS_REC | MS_PRIVATE), nil) }
        } catch {
            Self.leave(to: host)
            throw error
        }
        self.host = host
    }

    deinit {
        Self.leave(to: host)
    }

    /// Returns; if that fails, nothing must go on and take another's files for the host's.
    private static func leave(to host: borrowing Descriptor) {
        guard setns(host.number, clinux_clone_newns) == 0 else {
            Log.error("cannot return to the host's mount namespace: \(String(cString: strerror(errno)))")
            exit(1)
        }
    }

    /// Enters the mount namespace of a process.
    ///
    /// A pidfd does, since Linux 5.8; it cannot mean another process.
    func enter(_ process: borrowing ProcessReference) throws(Failure) {
        let number = process.descriptor.number
        try systemCall("setns", "cannot enter the container's mount namespace") { setns(number, clinux_clone_newns) }
    }
}
