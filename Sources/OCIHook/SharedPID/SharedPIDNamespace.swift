import Platform

/// A container whose init is not the first process of a PID namespace of its own.
///
/// A process of the container can outlive the init, with its device node. So the container ends when its cgroup of
/// version 2 is empty, with all cgroups below. That holds only if no process of the container can get into a cgroup
/// above. Whoever can do that is refused.
enum SharedPIDNamespace {
    /// What could not be done, for errors.
    static let what = "cannot give the container its TPM"

    /// Returns the cgroup by which the container's end is known; nil if its init is the first process of a PID namespace
    /// of its own, and shows the end itself.
    ///
    /// - Throws: ``Failure`` if there is no such cgroup, or if the container's processes could leave it.
    static func cgroup(
        of container: borrowing ContainerInit,
        id: String,
        _ request: CreationRequest,
        _ deviceAccess: DeviceAccess
    ) throws(Failure) -> ContainerCgroup? {
        guard !container.isFirstInPIDNamespace else { return nil }
        let config = request.config
        guard deviceAccess.cgroups.legacyDevices == nil, let hierarchy = deviceAccess.cgroups.unified else {
            throw refusal("control groups of version 1 do not tell when its last process has ended", versionHint)
        }
        guard let top = top(of: hierarchy, try deviceAccess.ownSubtree(), id: id) else {
            throw refusal("it has no control group that is certainly its own", cgroupHint)
        }
        let isConfined = try LSMConfinement.confines(config, container.procfs)
        try CgroupExits(
            cgroup: hierarchy.path(of: top),
            namespaceRoot: CgroupNamespace.root(
                of: container.process,
                in: hierarchy.path(of: hierarchy.leaf),
                container.procfs
            ),
            mounts: ContainerMounts.of(container, rootPath: request.rootPath),
            privileges: ContainerPrivileges(of: config, container.users, isConfined),
            seesHostProcesses: try container.procfs.sharesNamespace(.pid, with: container.process.process)
        ).refuse(host: container.procfs.mountInfo())
        let cgroup = try ContainerCgroup(top, in: hierarchy)
        guard try container.process.isAlive() else { throw Failure(what, because: "the container's init ended") }
        return cgroup
    }

    /// Returns the highest cgroup that is the container's own; nil if none is for certain.
    ///
    /// A container without `linux.cgroupsPath` has the cgroup that the runtime chose, which runc and crun name after
    /// the container. A cgroup of another name can be one in which the runtime itself was started.
    static func top(of hierarchy: CgroupHierarchy, _ subtree: ContainerSubtree, id: String) -> CgroupPath? {
        guard let top = subtree.levels(from: hierarchy.leaf, hook: hierarchy.hook).last else { return nil }
        return subtree != .leaf || top.names.last == Array(id.utf8) ? top : nil
    }

    /// Returns the error for a container that cannot have a TPM because it shares a PID namespace.
    ///
    /// `why` is a clause about the container, and `remedy` is what helps beside a PID namespace of its own.
    static func refusal(_ why: String, _ remedy: String) -> Failure {
        let hint = [
            remedy,
            "start it with a PID namespace of its own: without --pid=host, --pid=container:…, hostPID and "
                + "shareProcessNamespace",
            "or leave the hook out of this container's configuration",
        ].joined(separator: "; ")
        return Failure(what, because: "it shares a PID namespace, and \(why)", hint: hint)
    }

    private static let versionHint = "boot the host with cgroup v2"
    private static let cgroupHint = "name one in linux.cgroupsPath"
}
