import Platform

/// The ways by which a container's processes could get into cgroups above the container's.
///
/// No device program is in force there, so such a process could use any device, also one that has another's number by
/// then. A process moves by writing to `cgroup.procs`, or starts another one with CLONE_INTO_CGROUP. For the latter it
/// needs only a descriptor of the directory, which a read-only mount gives as well. kernel/cgroup/cgroup.c,
/// `cgroup_css_set_fork`
///
/// With the mount option `nsdelegate`, the kernel keeps a process to the cgroups of its namespace, whatever it can open
/// (`cgroup_procs_write_permission`). That is a second barrier, and cannot be the only one: who mounts the hierarchy
/// once more on the host, as runc does for a container in the host's cgroup namespace, takes the option away.
///
/// Between containers of one pod it is the only one: a process can use what another of the same user sees, through
/// `/proc/PID/root`. That is cgroups of the other container, whose device programs do not allow this container's number;
/// or, if one has the host's mounted and is the host's root, cgroups without any. Such a container has the host's
/// devices itself.
struct CgroupExits: Sendable {
    /// The container's cgroup, from the root of the hook's cgroup namespace.
    let cgroup: CgroupPath
    /// The root of the container's cgroup namespace; nil if the container is not below it.
    let namespaceRoot: CgroupPath?
    /// The mounts that the container has once its root is changed.
    let mounts: [MountInfo]
    let privileges: ContainerPrivileges
    /// Whether the container's PID namespace is the hook's.
    let seesHostProcesses: Bool

    /// Refuses a container that has one of them; `host` are the mounts that the hook sees.
    func refuse(host: [MountInfo]) throws(Failure) {
        if let capability = privileges.exit {
            throw SharedPIDNamespace.refusal(
                "with \(capability) its processes could leave its control group",
                "start it without --privileged and without this capability"
            )
        }
        guard let namespaceRoot, cgroup.contains(namespaceRoot) else {
            throw SharedPIDNamespace.refusal(
                "it has no cgroup namespace of its own, which keeps its processes in its control group",
                "start it with one: --cgroupns=private"
            )
        }
        if let mount = mountAbove {
            throw SharedPIDNamespace.refusal(
                "it sees control groups above its own at \(mount), into which it could put processes",
                "mount no control groups into it, and not the host's /sys"
            )
        }
        if seesHostProcesses || mountsProcfs(of: host), privileges.canBorrowFromHost {
            throw SharedPIDNamespace.refusal(
                "through the host's processes, which it sees, it could reach the host's files",
                "confine it by AppArmor or SELinux, or start it with a user namespace of its own (--userns=auto)"
            )
        }
    }

    /// Where the container has a mount that shows a cgroup of version 2 outside of its own; nil if it has none.
    private var mountAbove: String? {
        let mount = mounts.first { mount in
            guard mount.type == "cgroup2" else { return false }
            // One that the hook's own namespace does not show begins with `/..`.
            guard let root = mount.root.flatMap({ CgroupPath($0) }) else { return true }
            return !cgroup.contains(root)
        }
        return mount.map { $0.mountPoint ?? "an unknown place" }
    }

    /// Whether one of the mounts is also the hook's, and shows its processes.
    private func mountsProcfs(of host: [MountInfo]) -> Bool {
        let own = Set(host.filter { $0.type == "proc" }.map { $0.device })
        return mounts.contains { $0.type == "proc" && own.contains($0.device) }
    }
}

/// The mounts that a container has once the runtime has changed its root.
enum ContainerMounts {
    /// Reads the mounts of a container that is being created: its root filesystem's, and those below.
    static func of(_ container: borrowing ContainerInit, rootPath: String) throws(Failure) -> [MountInfo] {
        let root = try MountNamespace.run(in: container.process) { () throws(Failure) in
            try ContainerRoot(rootPath).mount()
        }
        let all = try container.procfs.mountInfo(of: container.process.process)
        guard let found = below(root, in: all) else {
            throw Failure(SharedPIDNamespace.what, because: "its root filesystem is on none of its mounts")
        }
        return found
    }

    /// Returns the mount with this ID and all below it, also those that others hide; nil if there is no such mount.
    static func below(_ root: UInt64, in all: [MountInfo]) -> [MountInfo]? {
        guard let first = all.first(where: { $0.id == root }) else { return nil }
        let children = Dictionary(grouping: all.filter { $0.id != root }) { $0.parent }
        var (found, known) = ([first], Set([root]))
        var next = 0
        while next < found.count {
            guard let id = found[next].id else { return nil }
            next += 1
            // A root's parent can be among the mounts below it, or the mount itself.
            for mount in children[id] ?? [] {
                guard let own = mount.id else { return nil }
                if known.insert(own).inserted { found.append(mount) }
            }
        }
        return found
    }
}
