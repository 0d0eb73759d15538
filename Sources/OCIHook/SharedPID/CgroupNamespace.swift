import CLinux
import Glibc
import Platform

/// The cgroup namespace of a container's init. cgroup_namespaces(7)
enum CgroupNamespace {
    /// Returns the cgroup of version 2 that is the root of a process's namespace, as the hook's own namespace shows it.
    ///
    /// Only a process in the namespace is shown paths that start at its root, so the hook enters it for a moment.
    ///
    /// - Parameters:
    ///   - process: The process.
    ///   - cgroup: The cgroup of the process, from the root of the hook's namespace.
    ///   - procfs: The procfs of the hook's own mount namespace.
    /// - Returns: The root; nil if the process is not below it.
    /// - Throws: ``Failure`` if the namespace cannot be entered.
    static func root(
        of process: borrowing ProcessHandle,
        in cgroup: CgroupPath,
        _ procfs: borrowing Procfs
    ) throws(Failure) -> CgroupPath? {
        let own = try procfs.namespace(.cgroup)
        let number = process.descriptor.number
        try systemCall("setns", "cannot enter the container's cgroup namespace") {
            setns(number, clinux_clone_newcgroup)
        }
        defer { leave(to: own) }
        let seen = try procfs.cgroups(of: process.process).first { $0.isUnified }
        return seen.flatMap { CgroupPath($0.path) }.flatMap { cgroup.removing($0) }
    }

    /// Returns to the hook's namespace.
    ///
    /// If that fails, it ends the process, which would otherwise take the container's cgroups for the host's.
    private static func leave(to own: borrowing Descriptor) {
        guard setns(own.number, clinux_clone_newcgroup) == 0 else {
            Log.error("cannot return to the host's cgroup namespace: \(String(cString: strerror(errno)))")
            exit(1)
        }
    }
}
