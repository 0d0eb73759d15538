import CLinux
import Glibc
import Platform
import RuntimeControl

/// The cgroups of the vTPMs on a host without systemd: one for each, in `container-vtpm` below the root of version 2.
///
/// In the cgroup of its hook, a vTPM would end with the engine, whose service is stopped or killed with all that is in
/// it while its containers live on. Hierarchies of version 1 stay as they are.
///
/// A cgroup has the name of its lease. No locks are needed: the kernel refuses rmdir(2) while a process is in a cgroup,
/// and one that is removed before its first process comes is made again.
final class VTPMCgroups: Sendable {
    private let hierarchy: CgroupHierarchy
    /// `container-vtpm`.
    private let parent: Descriptor
    /// `cgroup.procs` of ``leavingName``.
    private let exit: Descriptor

    private static let parentName = "container-vtpm"
    private static let parentPath = CgroupPath.root.appending(parentName)
    /// The name of the cgroup that a supervisor enters at its end, so that it can remove its own.
    ///
    /// The parent can have no process itself, since it distributes controllers. cgroups(7), "no internal processes"
    static let leavingName = "leaving"
    /// How often a cgroup is made again if somebody takes it for a leftover and removes it meanwhile.
    private static let attempts = 16
    /// The timeout for the kernel to let go of a process that has ended, in milliseconds.
    private static let removalTimeout = 500

    /// Opens the cgroups of all vTPMs, or returns nil if there are none.
    static func open(_ procfs: borrowing Procfs) throws(Failure) -> VTPMCgroups? {
        guard let hierarchy = try hierarchy(procfs) else { return nil }
        do {
            return try VTPMCgroups(in: hierarchy)
        } catch let error where error.code == ENOENT {
            return nil
        }
    }

    /// Makes the cgroups of all vTPMs, unless there are some, and opens them.
    ///
    /// Returns nil if version 2 is not mounted, or not for writing.
    static func make(_ procfs: borrowing Procfs) throws(Failure) -> VTPMCgroups? {
        guard let hierarchy = try hierarchy(procfs) else { return nil }
        do {
            try makeDirectory(parentName, in: hierarchy, .root)
            try makeDirectory(leavingName, in: hierarchy, parentPath)
            return try VTPMCgroups(in: hierarchy)
        } catch let error where [EROFS, EACCES, EPERM].contains(error.code) {
            Log.notice("the vTPM stays in the control group of its hook: \(error)")
            return nil
        }
    }

    /// Returns the hierarchy of version 2, or nil if no mount shows its root.
    private static func hierarchy(_ procfs: borrowing Procfs) throws(Failure) -> CgroupHierarchy? {
        for mount in CgroupMount.among(try procfs.mountInfo())
        where mount.type == "cgroup2" && mount.root == CgroupPath.root {
            do throws(Failure) {
                let hierarchy = try CgroupHierarchy(.unified, mount, leaf: .root, hook: nil)
                _ = try hierarchy.open(.root)
                return hierarchy
            } catch {
                // Another mount hides this one.
                continue
            }
        }
        return nil
    }

    private init(in hierarchy: CgroupHierarchy) throws(Failure) {
        self.hierarchy = hierarchy
        parent = try hierarchy.open(Self.parentPath)
        exit = try hierarchy.open(
            "cgroup.procs",
            of: Self.parentPath.appending(Self.leavingName),
            .beneath(O_WRONLY)
        )
    }

    private static func makeDirectory(
        _ name: String,
        in hierarchy: CgroupHierarchy,
        _ parent: CgroupPath
    ) throws(Failure) {
        let directory = try hierarchy.open(parent)
        let number = directory.number
        do {
            try systemCall("mkdir", "cannot make \(hierarchy.name(of: parent.appending(name)))") {
                mkdirat(number, name, 0o700)
            }
        } catch let error where error.code == EEXIST {}
    }

    /// Returns the absolute path of the cgroup of this name.
    func path(of name: String) -> String {
        hierarchy.name(of: Self.parentPath.appending(name))
    }

    /// Starts a vTPM's supervisor in the cgroup of this name, which is made unless a predecessor is still in it.
    ///
    /// The supervisor gets the name as its last argument, and ``parent`` and ``exit`` as its last descriptors. Its
    /// worker is in the same cgroup from the start.
    func start(_ launch: ProgramLaunch, in name: String) throws(Failure) -> ChildProcess {
        var launch = launch
        launch.arguments.append(name)
        launch.passed += [parent.number, exit.number]
        for _ in 0..<Self.attempts {
            guard let cgroup = try make(name) else { continue }
            launch.cgroup = cgroup.number
            do {
                let child = try launch.start()
                limit(name)
                return child
            } catch let error where error.code == ENODEV {
                continue
            } catch {
                remove(name)
                throw error
            }
        }
        throw Failure("cannot start \(launch.path)", because: "others remove its control group while it is made")
    }

    /// Makes the cgroup of this name, unless there is one; returns nil if somebody removes it at once.
    private func make(_ name: String) throws(Failure) -> Descriptor? {
        try Self.makeDirectory(name, in: hierarchy, Self.parentPath)
        do {
            return try hierarchy.open(Self.parentPath.appending(name))
        } catch let error where error.code == ENOENT {
            return nil
        }
    }

    // MARK: - Limits

    private func limit(_ name: String) {
        limit("memory", to: VTPMLimits.memory, name)
        limit("pids", to: VTPMLimits.tasks, name)
    }

    /// Sets the limit of a controller; a host that does not have the controller here is no reason to refuse a TPM.
    private func limit(_ controller: String, to limit: Int, _ name: String) {
        let file = "\(controller).max"
        let path = Self.parentPath.appending(name)
        do throws(Failure) {
            do {
                try write("\(limit)", to: file, of: path)
            } catch let error where error.code == ENOENT {
                for level in [CgroupPath.root, Self.parentPath] {
                    try write("+\(controller)", to: "cgroup.subtree_control", of: level)
                }
                try write("\(limit)", to: file, of: path)
            }
        } catch {
            Log.notice("the vTPM has no \(file): \(error)")
        }
    }

    private func write(_ text: String, to file: String, of cgroup: CgroupPath) throws(Failure) {
        try hierarchy.open(file, of: cgroup, .beneath(O_WRONLY))
            .writeAll(Array(text.utf8), "\(hierarchy.name(of: cgroup))/\(file)")
    }

    // MARK: - Leftovers

    /// Removes the cgroup of this name if no process is in it; logs what else keeps it.
    func remove(_ name: String) {
        do throws(Failure) {
            if try tryRemove(name) { return }
            try awaitEmptiness(of: name)
            _ = try tryRemove(name)
        } catch {
            Log.error("\(error)")
        }
    }

    /// Removes all cgroups in which no process is, but not those with the names of these leases.
    func removeAll(but leases: [String]) {
        do throws(Failure) {
            let kept = Set(leases)
            for name in try entries(of: parent, hierarchy.name(of: Self.parentPath))
            where !name.contains(".") && name != Self.leavingName && !kept.contains(name) {
                _ = try tryRemove(name)
            }
        } catch {
            Log.error("\(error)", about: LogSubject())
        }
    }

    /// Waits until no process is in a cgroup, or the timeout has passed. cgroups(7), "Cgroups v2 release notification"
    private func awaitEmptiness(of name: String) throws(Failure) {
        let deadline = Deadline(milliseconds: Self.removalTimeout)
        do {
            let events = try Descriptor.openFile(
                "\(name)/\(CgroupEvents.name)",
                .beneath(O_RDONLY),
                at: parent.number,
                as: "\(path(of: name))/\(CgroupEvents.name)"
            )
            while try CgroupEvents.isPopulated(events) {
                guard try wait(for: events.number, CInt(POLLPRI), until: deadline) != 0 else { return }
            }
        } catch let error where error.code == ENOENT {
            // Its supervisor has removed it.
        }
    }

    /// Returns false if a process is in it.
    private func tryRemove(_ name: String) throws(Failure) -> Bool {
        do {
            try Platform.remove(name, at: parent, flags: AT_REMOVEDIR, path(of: name))
            return true
        } catch let error where error.code == EBUSY {
            return false
        }
    }
}
