import Glibc
import Platform

/// The cgroup that is a container's own, by which its end is known.
final class ContainerCgroup: Sendable {
    /// The cgroup, for the lease.
    let identity: CgroupIdentity
    /// The cgroup's open ``CgroupEvents/name``.
    let events: Descriptor

    /// Opens a cgroup of version 2.
    init(_ cgroup: CgroupPath, in hierarchy: CgroupHierarchy) throws(Failure) {
        identity = try hierarchy.identity(of: cgroup)
        events = try hierarchy.open(CgroupEvents.name, of: cgroup, .beneath(O_RDONLY))
    }
}

extension ContainerInit {
    /// Returns what shows the container's end to the supervisor and the worker.
    ///
    /// `cgroup` is the container's; nil if its init is the first process of a PID namespace of its own.
    func watch(_ cgroup: ContainerCgroup?) throws(Failure) -> ContainerWatch {
        let initProcess = try process.descriptor.duplicate()
        guard let cgroup else { return ContainerWatch(initProcess: initProcess, cgroupEvents: nil) }
        return ContainerWatch(initProcess: initProcess, cgroupEvents: try cgroup.events.duplicate())
    }
}
