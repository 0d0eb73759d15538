import CLinux
import Glibc
import Platform

/// A hierarchy of cgroups that has a say about devices, and where a process is in it.
struct ControlGroupHierarchy: ~Copyable, Sendable {
    /// Which of the two interfaces it has.
    enum Version: Sendable {
        /// The `devices` controller of version 1.
        case legacyDevices
        /// Version 2, where BPF programs decide.
        case unified
    }

    let version: Version
    /// The directory that the hierarchy is mounted on.
    private let directory: Descriptor
    private let mountPoint: String
    /// The cgroup of the process, below the mount.
    let leaf: GroupPath
    /// The hook's own cgroup, below the mount.
    let hook: GroupPath?

    /// Opens a mount of the hierarchy; the paths are those below it.
    init(_ version: Version, _ mount: ControlGroupMount, leaf: GroupPath, hook: GroupPath?) throws(Failure) {
        let directory = try Descriptor.open(mount.mountPoint, .directory)
        self.version = version
        self.directory = directory
        self.mountPoint = mount.mountPoint
        self.leaf = leaf
        self.hook = hook
    }

    /// Makes sure that processes are where they are said to be.
    borrowing func check(processes: [pid_t]) throws(Failure) {
        let name = name(of: leaf)
        let members = try members()
        for process in processes where !members.contains(where: { $0.elementsEqual("\(process)".utf8) }) {
            throw Failure("cannot use \(name)", because: "process \(process) is not in it")
        }
    }

    /// Makes sure that nobody else would be let in with the process; the probe may be in it.
    ///
    /// While a container is created its cgroup has one member. Another one would be of another container whose
    /// configuration names the same cgroup, which runtimes permit.
    borrowing func check(process: pid_t, isAloneBut probe: pid_t) throws(Failure) {
        let name = name(of: leaf)
        let members = try members().filter { !$0.elementsEqual("\(probe)".utf8) }
        guard members.count == 1, members[0].elementsEqual("\(process)".utf8) else {
            throw Failure("cannot use \(name)", because: "others than the container's init are in it")
        }
    }

    private borrowing func members() throws(Failure) -> [ArraySlice<UInt8>] {
        let file = try open("cgroup.procs", of: leaf, .beneath(O_RDONLY))
        return try file.readAll(limit: 1 << 22, "\(name(of: leaf))/cgroup.procs").split(separator: UInt8(ascii: "\n"))
    }

    /// What errors call a cgroup.
    borrowing func name(of group: GroupPath) -> String {
        group == .root ? mountPoint : "\(mountPoint)\(group)"
    }

    /// Opens the directory of a cgroup.
    ///
    /// A file system that only looks like one of cgroups would take any write. CVE-2025-52881
    borrowing func open(_ group: GroupPath) throws(Failure) -> Descriptor {
        let name = name(of: group)
        let options = OpenOptions.beneath(O_RDONLY | O_DIRECTORY)
        let opened = try Descriptor.open(group.relativeText, options, at: directory.number, as: name)
        let expected = version == .unified ? Int(CGROUP2_SUPER_MAGIC) : Int(CGROUP_SUPER_MAGIC)
        guard try opened.fileSystemMagic(name) == expected else {
            throw Failure("cannot use \(name)", because: "it is not on a file system of control groups")
        }
        return opened
    }

    /// Opens one file of a cgroup.
    borrowing func open(_ file: String, of group: GroupPath, _ options: OpenOptions) throws(Failure) -> Descriptor {
        let directory = try open(group)
        return try Descriptor.open(file, options, at: directory.number, as: "\(name(of: group))/\(file)")
    }
}

/// The cgroups that decide which devices a process may use.
///
/// There may be both at once: a request has to pass the `devices` controller of version 1 as well as the programs of
/// version 2 (security/device_cgroup.c, `devcgroup_check_permission`).
struct ControlGroups: ~Copyable, Sendable {
    /// Where there is a `devices` controller of version 1.
    let legacyDevices: ControlGroupHierarchy?
    /// Where version 2 is mounted.
    let unified: ControlGroupHierarchy?

    /// Finds the cgroups of a process.
    init(of process: pid_t) throws(Failure) {
        let procfs = try Procfs()
        let memberships = try ControlGroupMembership.parse(procfs.read("\(process)/cgroup"))
        let own = try ControlGroupMembership.parse(procfs.read("self/cgroup"))
        let mounts = try ControlGroupMount.parse(procfs.read("self/mountinfo"))
        let unified = try Self.hierarchy(.unified, memberships, own, mounts, process)
        let legacyDevices = try Self.hierarchy(.legacyDevices, memberships, own, mounts, process)
        self.unified = unified
        self.legacyDevices = legacyDevices
    }

    /// Makes sure that processes are in all of them.
    borrowing func check(processes: [pid_t]) throws(Failure) {
        try Self.check(processes, in: legacyDevices)
        try Self.check(processes, in: unified)
    }

    private static func check(
        _ processes: [pid_t],
        in hierarchy: borrowing ControlGroupHierarchy?
    ) throws(Failure) {
        switch hierarchy {
        case .none: return
        case .some(let hierarchy): try hierarchy.check(processes: processes)
        }
    }

    private static func hierarchy(
        _ version: ControlGroupHierarchy.Version,
        _ memberships: [ControlGroupMembership],
        _ own: [ControlGroupMembership],
        _ mounts: [ControlGroupMount],
        _ process: pid_t
    ) throws(Failure) -> ControlGroupHierarchy? {
        guard let found = try location(of: version, memberships, own, mounts) else { return nil }
        var failure: Failure?
        for (mount, leaf, hook) in found {
            do {
                let hierarchy = try ControlGroupHierarchy(version, mount, leaf: leaf, hook: hook)
                try hierarchy.check(processes: [process])
                return hierarchy
            } catch {
                // Another mount may lie on top of this one; the next may show the same hierarchy.
                failure = failure ?? error
            }
        }
        throw failure ?? Failure("cannot find the control group of the container", because: "no mount shows it")
    }

    /// One mount, the process's cgroup below it and the hook's.
    typealias Location = (mount: ControlGroupMount, leaf: GroupPath, hook: GroupPath?)

    /// Where a process's cgroup can be found; nothing where there is no such hierarchy.
    static func location(
        of version: ControlGroupHierarchy.Version,
        _ memberships: [ControlGroupMembership],
        _ own: [ControlGroupMembership],
        _ mounts: [ControlGroupMount]
    ) throws(Failure) -> [Location]? {
        func isWanted(_ membership: ControlGroupMembership) -> Bool {
            version == .unified ? membership.isUnified : membership.controllers.contains("devices")
        }
        guard let membership = memberships.first(where: isWanted) else { return nil }
        let hook = own.first(where: isWanted)?.path
        guard let path = membership.path else {
            throw Failure(
                "cannot find the control group of the container",
                because: "it lies outside of the hook's own cgroup namespace",
                remedy: "start the engine in the host's cgroup namespace"
            )
        }
        let found = mounts.compactMap { mount -> Location? in
            let isRight = version == .unified ? mount.type == "cgroup2" : mount.options.contains("devices")
            guard isRight, let root = mount.root, let leaf = path.relative(to: root) else { return nil }
            return (mount, leaf, hook?.relative(to: root))
        }
        // In version 2 every process is somewhere, also where nobody ever mounted it: then it is in the root.
        if found.isEmpty, version == .unified, path == .root { return nil }
        guard !found.isEmpty else {
            throw Failure("cannot find the control group \(path)", because: "no mount shows it")
        }
        return found
    }
}
