import Glibc
import Platform
import RuntimeLease
import Systemd

/// Where the processes of a vTPM live: in a place of their own, so that what ends the engine does not end them.
enum VTPMPlace {
    /// A scope of systemd's (``VTPMScope``), which gets the processes once they run.
    case systemd(SystemdClient)
    /// A cgroup of this name.
    case cgroup(VTPMCgroups, name: String)
    /// The cgroup of the hook, since the host has neither systemd nor cgroups of version 2.
    case inherited

    /// Chooses a place for the vTPM with this lease.
    static func choose(
        _ systemd: SystemdClient?,
        leaseName: String,
        _ procfs: borrowing Procfs
    ) throws(Failure) -> VTPMPlace {
        if let systemd { return .systemd(systemd) }
        guard let cgroups = try VTPMCgroups.make(procfs) else { return .inherited }
        return .cgroup(cgroups, name: leaseName)
    }

    /// Starts the supervisor.
    func start(_ launch: ProgramLaunch) throws(Failure) -> ChildProcess {
        switch self {
        case .cgroup(let cgroups, let name): try cgroups.start(launch, in: name)
        case .systemd, .inherited: try launch.start()
        }
    }

    /// Begins to move the processes into their scope, while the caller goes on; returns nil if they need none.
    ///
    /// The cgroups of a process and the caller's say which units the container lives in. The process is the container's
    /// init; before there is one, it is the runtime, and `unit` is the one that the runtime will make. The paths are those of
    /// the directories that the vTPM uses.
    func beginScope(
        for containerID: String,
        of process: borrowing ProcessHandle,
        _ procfs: borrowing Procfs,
        making unit: String? = nil,
        supervisor: pid_t,
        worker: borrowing ProcessHandle,
        using paths: [String]
    ) throws(Failure) -> VTPMScope? {
        guard case .systemd(let systemd) = self else { return nil }
        let memberships = try procfs.cgroups(of: process.process) + procfs.cgroups()
        guard try process.isAlive() else {
            throw Failure("cannot start the vTPM", because: "the container's init ended")
        }
        let living = UnitName.units(along: memberships.filter { $0.isSystemd }.compactMap { CgroupPath($0.path) })
        let scope = VTPMScope(
            of: containerID,
            supervisor: supervisor,
            worker: worker,
            after: living + [unit].compactMap { $0 },
            using: paths
        )
        try scope.begin(with: systemd)
        return scope
    }

    /// Waits until the processes are in the scope; returns what the lease says of the place.
    func finish(
        _ scope: VTPMScope?,
        worker: borrowing ProcessHandle,
        _ procfs: borrowing Procfs
    ) throws(Failure) -> Lease.Place {
        switch (self, scope) {
        case (.systemd(let systemd), let scope?):
            try scope.await(with: systemd, worker, procfs)
            return .unit(scope.name)
        case (.cgroup(let cgroups, let name), _): return .cgroup(cgroups.path(of: name))
        default: return .inherited
        }
    }

    /// Removes the cgroups of vTPMs that have no lease any more; logs what it cannot remove.
    func removeLeftovers(_ runDirectory: borrowing Descriptor) {
        guard case .cgroup(let cgroups, _) = self else { return }
        do throws(Failure) {
            cgroups.removeAll(but: try Leases.names(in: runDirectory))
        } catch {
            Log.error("\(error)", about: LogSubject())
        }
    }
}

extension CgroupMembership {
    /// Whether systemd manages the hierarchy: version 2, or the one of version 1 that has its name.
    fileprivate var isSystemd: Bool { isUnified || controllers == ["name=systemd"] }
}
