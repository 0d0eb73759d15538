import CLinux
import Glibc
import Platform

/// A mount of a cgroup file system.
struct CgroupMount: Equatable, Sendable {
    /// `cgroup` or `cgroup2`.
    var type: String
    /// The mounted part of the hierarchy; nil if it is outside of the reader's cgroup namespace.
    var root: CgroupPath?
    /// The absolute path of the mount point.
    var mountPoint: String
    /// The options of the file system, which include the names of the controllers in version 1.
    var options: [String]

    /// Returns the cgroup mounts among all; those without an absolute mount point are skipped.
    static func among(_ mounts: [MountInfo]) -> [CgroupMount] {
        mounts.compactMap { mount in
            guard mount.type == "cgroup" || mount.type == "cgroup2", let root = mount.root,
                let mountPoint = mount.mountPoint, mountPoint.utf8.first == UInt8(ascii: "/")
            else { return nil }
            return CgroupMount(
                type: mount.type,
                root: CgroupPath(root),
                mountPoint: mountPoint,
                options: mount.options
            )
        }
    }
}

/// A cgroup hierarchy that controls access to devices, and a process's place in it.
final class CgroupHierarchy: Sendable {
    /// The kernel's two interfaces.
    enum Version: Sendable {
        /// The `devices` controller of version 1.
        case legacyDevices
        /// Version 2, in which BPF programs decide.
        case unified
    }

    let version: Version
    /// The directory of the mount point.
    private let directory: Descriptor
    private let mountPoint: String
    /// The part of the hierarchy that the mount shows.
    private let root: CgroupPath
    /// The cgroup of the process, below the mount.
    let leaf: CgroupPath
    /// The hook's own cgroup, below the mount; nil if the mount does not show it.
    let hook: CgroupPath?

    /// Opens a mount of the hierarchy; both paths are relative to it.
    init(_ version: Version, _ mount: CgroupMount, leaf: CgroupPath, hook: CgroupPath?) throws(Failure) {
        directory = try Descriptor.open(mount.mountPoint, .directory)
        mountPoint = mount.mountPoint
        root = mount.root ?? .root
        self.version = version
        self.leaf = leaf
        self.hook = hook
    }

    /// Throws unless ``leaf`` has all of these processes.
    func check(processes: [pid_t]) throws(Failure) {
        let members = try members()
        for process in processes where !members.contains(where: { $0.elementsEqual("\(process)".utf8) }) {
            throw Failure("cannot use \(name(of: leaf))", because: "process \(process) is not in it")
        }
    }

    /// Throws if ``leaf`` has any process but this one and the probe, since a permission would hold for it too.
    ///
    /// While a container is created, its cgroup has one member. Any other belongs to a second container whose
    /// configuration names the same cgroup, which runtimes permit.
    func check(process: pid_t, isAloneBut probe: pid_t) throws(Failure) {
        let members = try members().filter { !$0.elementsEqual("\(probe)".utf8) }
        guard members.count == 1, members[0].elementsEqual("\(process)".utf8) else {
            throw Failure("cannot use \(name(of: leaf))", because: "others than the container's init are in it")
        }
    }

    /// Throws if a cgroup, or any below it, has any process but this one and the probe.
    func check(process: pid_t, isAloneBut probe: pid_t, in top: CgroupPath) throws(Failure) {
        var pending = [top]
        var count = 0
        while let cgroup = pending.popLast() {
            count += 1
            guard count <= Self.subtreeLimit else {
                throw Failure("cannot use \(name(of: top))", because: "it has too many control groups")
            }
            let others = try members(of: cgroup).contains {
                !$0.elementsEqual("\(process)".utf8) && !$0.elementsEqual("\(probe)".utf8)
            }
            guard !others else {
                throw Failure("cannot use \(name(of: cgroup))", because: "others than the container's init are in it")
            }
            let directory = try open(cgroup)
            for entry in try entries(of: directory, name(of: cgroup)) {
                let status = try directory.status(of: entry, name(of: cgroup))
                if let status, status.st_mode & S_IFMT == S_IFDIR { pending.append(cgroup.appending(entry)) }
            }
        }
    }

    /// The largest number of cgroups that a container has when it is created.
    private static let subtreeLimit = 64

    private func members(of cgroup: CgroupPath? = nil) throws(Failure) -> [ArraySlice<UInt8>] {
        let cgroup = cgroup ?? leaf
        let file = try open("cgroup.procs", of: cgroup, .beneath(O_RDONLY))
        let text = try file.readAll(limit: 1 << 22, "\(name(of: cgroup))/cgroup.procs")
        return text.split(separator: UInt8(ascii: "\n"))
    }

    /// Returns the absolute path of a cgroup, for errors.
    func name(of cgroup: CgroupPath) -> String {
        cgroup == .root ? mountPoint : "\(mountPoint)\(cgroup)"
    }

    /// Returns the path of a cgroup from the root of the hook's cgroup namespace, as procfs shows it.
    func path(of cgroup: CgroupPath) -> CgroupPath { root.appending(cgroup) }

    /// Returns the identity of a cgroup of version 2, for a file.
    func identity(of cgroup: CgroupPath) throws(Failure) -> CgroupIdentity {
        try CgroupIdentity(of: cgroup.relativeText, in: directory, mountPoint: mountPoint)
    }

    /// Opens the directory of a cgroup, and checks the file system's type.
    ///
    /// Another file system in place of the cgroup one would accept any write. CVE-2025-52881
    func open(_ cgroup: CgroupPath) throws(Failure) -> Descriptor {
        let name = name(of: cgroup)
        let options = OpenOptions.beneath(O_RDONLY | O_DIRECTORY)
        let opened = try Descriptor.open(cgroup.relativeText, options, at: directory.number, as: name)
        let expected = version == .unified ? Int(CGROUP2_SUPER_MAGIC) : Int(CGROUP_SUPER_MAGIC)
        guard try opened.fileSystemMagic(name) == expected else {
            throw Failure("cannot use \(name)", because: "it is not on a file system of control groups")
        }
        return opened
    }

    /// Opens one of a cgroup's interface files.
    func open(_ file: String, of cgroup: CgroupPath, _ options: OpenOptions) throws(Failure) -> Descriptor {
        let directory = try open(cgroup)
        return try Descriptor.open(file, options, at: directory.number, as: "\(name(of: cgroup))/\(file)")
    }
}

/// The cgroups that decide which devices a process may use.
///
/// Both versions may apply at once. An access then has to pass the `devices` controller of version 1 and the programs
/// of version 2. security/device_cgroup.c, `devcgroup_check_permission`
struct Cgroups: Sendable {
    /// The hierarchy of version 1; nil if it has no `devices` controller.
    let legacyDevices: CgroupHierarchy?
    /// The hierarchy of version 2; nil if it is not mounted.
    let unified: CgroupHierarchy?

    /// The hierarchies that there are.
    var all: [CgroupHierarchy] { [legacyDevices, unified].compactMap(\.self) }

    /// Finds the cgroups of a process, from procfs.
    init(of process: pid_t) throws(Failure) {
        let procfs = try Procfs()
        let memberships = try procfs.cgroups(of: process)
        let own = try procfs.cgroups()
        let mounts = CgroupMount.among(try procfs.mountInfo())
        unified = try Self.hierarchy(.unified, memberships, own, mounts, process)
        legacyDevices = try Self.hierarchy(.legacyDevices, memberships, own, mounts, process)
    }

    /// Throws unless all of these processes are in the cgroups of both hierarchies.
    func check(processes: [pid_t]) throws(Failure) {
        for hierarchy in all { try hierarchy.check(processes: processes) }
    }

    private static func hierarchy(
        _ version: CgroupHierarchy.Version,
        _ memberships: [CgroupMembership],
        _ own: [CgroupMembership],
        _ mounts: [CgroupMount],
        _ process: pid_t
    ) throws(Failure) -> CgroupHierarchy? {
        guard let found = try location(of: version, memberships, own, mounts) else { return nil }
        var failure: Failure?
        for (mount, leaf, hook) in found {
            do {
                let hierarchy = try CgroupHierarchy(version, mount, leaf: leaf, hook: hook)
                try hierarchy.check(processes: [process])
                return hierarchy
            } catch {
                // Another mount may hide this one; the next may show the same hierarchy.
                failure = failure ?? error
            }
        }
        throw failure ?? Failure("cannot find the control group of the container", because: "no mount shows it")
    }

    /// A mount, with the cgroups of the process and of the hook relative to it.
    typealias Location = (mount: CgroupMount, leaf: CgroupPath, hook: CgroupPath?)

    /// Returns each mount that shows the cgroup of a process; nil if there is no such hierarchy.
    ///
    /// An unmounted hierarchy of version 2 counts as none. Throws if the cgroup is outside of the hook's cgroup
    /// namespace, or if no mount shows it.
    static func location(
        of version: CgroupHierarchy.Version,
        _ memberships: [CgroupMembership],
        _ own: [CgroupMembership],
        _ mounts: [CgroupMount]
    ) throws(Failure) -> [Location]? {
        func isWanted(_ membership: CgroupMembership) -> Bool {
            version == .unified ? membership.isUnified : membership.controllers.contains("devices")
        }
        guard let membership = memberships.first(where: isWanted) else { return nil }
        let hook = own.first(where: isWanted).flatMap { CgroupPath($0.path) }
        guard let path = CgroupPath(membership.path) else {
            throw Failure(
                "cannot find the control group of the container",
                because: "it lies outside of the hook's own cgroup namespace",
                hint: "start the engine in the host's cgroup namespace"
            )
        }
        let found = mounts.compactMap { mount -> Location? in
            let isRight = version == .unified ? mount.type == "cgroup2" : mount.options.contains("devices")
            guard isRight, let root = mount.root, let leaf = path.relative(to: root) else { return nil }
            return (mount, leaf, hook?.relative(to: root))
        }
        // In version 2 every process is in a cgroup, even if the hierarchy was never mounted; it is the root then.
        if found.isEmpty, version == .unified, path == .root { return nil }
        guard !found.isEmpty else {
            throw Failure("cannot find the control group \(path)", because: "no mount shows it")
        }
        return found
    }
}
