import Configuration
import Glibc
import Platform
import RuntimeControl
import RuntimeKeys
import RuntimeLease
import RuntimeState
import Systemd
import VTPMProxy

/// The `createRuntime` and `prestart` stages, which give a container its TPM.
///
/// If a step fails, the container is refused and nothing is left behind.
public struct Creation {
    let state: ContainerState
    let hostPaths: HostPaths
    let setting: HookSetting

    /// The timeout for the kernel to register the device, in milliseconds.
    private static let registrationTimeout = 10_000
    /// The timeout for ``RegistrationLock``, which the hooks of other containers hold meanwhile, in milliseconds.
    private static let registrationLockTimeout = 50_000

    /// Creates the stage for a container in this state.
    public init(of state: ContainerState, on hostPaths: HostPaths, _ setting: HookSetting) {
        self.state = state
        self.hostPaths = hostPaths
        self.setting = setting
    }

    /// Gives the container its TPM; does nothing if the container gets none.
    ///
    /// If this throws, everything that it made has been undone. Only a permission that it added to the container's
    /// cgroups stays, and ends with these.
    public func run() throws(Failure) {
        guard case .tpm(let bundle) = try select() else { return }
        let container = try ContainerInit(of: state.pid)
        let runDirectory = try openOwnDirectory(hostPaths.leases)
        try runDirectory.requireOwn(files: [], hostPaths.leases)
        let leaseName = try Lease.name(containerID: state.id, bundle: state.bundle)
        // The nodes of an earlier call would be in the way of every step below.
        if try hasTPM(container, leaseName, in: runDirectory) { return }
        let control = try openProxyControl()
        let file = try acquireSlot(on: control, for: container, bundle)
        // A key change must wait for all hooks that have read the configuration. They hold this lock until the state is
        // written.
        let keysLock = try HostContext.lockKeys(hostPaths, shared: true)

        // The programs load in the background while the hook reads the rest.
        let systemd = try SystemdClient.ofHost(hostPaths)
        defer { systemd?.end() }
        let place = try VTPMPlace.choose(systemd, leaseName: leaseName, container.procfs)
        let supervisor = try startSupervisor(in: place)
        let leftovers = Leftovers(on: hostPaths, setting)
        defer { supervisor.abandonUnlessCommitted(in: runDirectory, leftovers) }
        leftovers.removeAll(in: runDirectory)
        place.removeLeftovers(runDirectory)
        HeldNumbers.release(in: runDirectory)

        // A container that cannot have a TPM is refused before anything is made for it.
        let request = try readRequest(file, of: container)
        Log.subject.state = request.stateIdentity.stateID
        let selinux = try SELinuxAccess(of: request.config, SELinuxPolicy.current(container.procfs))
        try selinux?.examine()
        let owner = try examineDev(request, of: container)
        let deviceAccess = try DeviceAccess(
            of: container.process,
            cgroupsPath: request.config.linux?.cgroupsPath,
            systemd: systemd,
            probe: hostPaths.program("vtpm-hook")
        )
        defer { deviceAccess.end() }
        let cgroup = try SharedPIDNamespace.cgroup(of: container, id: state.id, request, deviceAccess)
        try deviceAccess.examine(mountingOn: hostPaths.leases)

        try begin(supervisor, request, leaseName, container, cgroup, runDirectory)
        let worker = try supervisor.awaitWorker(container.procfs)
        let scope = try place.beginScope(
            for: state.id,
            container,
            supervisor: supervisor.process,
            worker: worker,
            using: [hostPaths.states, hostPaths.leases]
        )
        let library = try supervisor.awaitReady()
        keysLock.release()
        let registered = try registerDevice(from: control, supervisor, runDirectory)
        Log.subject.tpm = registered.number
        keepRandomnessFromVTPMs(new: registered.number, in: runDirectory)
        let livingPlace = try place.finish(scope, worker: worker, container.procfs)
        // The lease reserves the number for as long as the container lives, even if hook and supervisor are killed. So
        // it must be written before the container has a node.
        let lease = try writeLease(
            of: registered,
            request,
            container,
            cgroup,
            supervisor,
            worker.process,
            library,
            livingPlace
        )
        try Placement.place(
            registered,
            owner: owner,
            label: selinux?.nodeLabel,
            in: container.process,
            rootPath: request.rootPath,
            privateMountPoint: "\(hostPaths.leases)/\(leaseName)"
        ) { (tpm, tpmrm) throws(Failure) in
            try selinux?.check([tpm.number, tpmrm.number])
            try deviceAccess.allow([registered.tpm, registered.tpmrm], nodes: [tpm.number, tpmrm.number])
            try HeldNumbers.hold(lease, named: leaseName, in: runDirectory) { () throws(Failure) in
                try supervisor.commit()
            }
        }
    }
}

// The steps that make something, in their order.
extension Creation {
    private func startSupervisor(in place: VTPMPlace) throws(Failure) -> SupervisorLink {
        try SupervisorLink(
            program: hostPaths.program("vtpm-supervisor"),
            worker: hostPaths.program("vtpm-worker"),
            in: place
        )
    }

    /// Sends the start request, with keys and directories if the state is persistent.
    private func begin(
        _ supervisor: SupervisorLink,
        _ request: CreationRequest,
        _ leaseName: String,
        _ container: borrowing ContainerInit,
        _ cgroup: ContainerCgroup?,
        _ runDirectory: borrowing Descriptor
    ) throws(Failure) {
        let watch = try container.watch(cgroup)
        var start = StartRequest(
            storage: .ephemeral,
            containerID: state.id,
            bundle: state.bundle,
            leaseName: leaseName,
            initProcess: container.identity,
            cgroup: cgroup?.identity
        )
        guard case .persistent(let stateID, let formerID) = request.stateIdentity else {
            return try supervisor.begin(
                start,
                keys: [],
                runDirectory: runDirectory,
                container: watch,
                directories: []
            )
        }
        let host = try HostContext(
            hostPaths,
            request.configuration,
            credentialsDirectory: setting.credentialsDirectory
        )
        start.storage = .persistent(
            PersistentStorage(
                stateID: stateID,
                formerStateID: formerID,
                statesPath: hostPaths.states,
                indexPath: hostPaths.index,
                keyCount: UInt8(host.keys.all.count),
                counter: host.counter,
                keptFor: request.keptFor
            )
        )
        try supervisor.begin(
            start,
            keys: host.keys.all,
            runDirectory: runDirectory,
            container: watch,
            directories: [host.states.number, host.indexDirectory.number]
        )
    }

    /// Creates the device, has the worker serve it, and waits until the kernel has registered it.
    ///
    /// The kernel hands out the lowest free number. If a living container's lease has that number, it is free only
    /// because the supervisor was killed. That container still has the node and the permission, so the number must not
    /// go to another. Neither must one that a cgroup holds.
    private func registerDevice(
        from control: borrowing Descriptor,
        _ supervisor: SupervisorLink,
        _ runDirectory: borrowing Descriptor
    ) throws(Failure) -> RegisteredTPM {
        try RegistrationLock.run(
            until: Deadline(milliseconds: Self.registrationLockTimeout),
            checkCancellation: { () throws(Failure) in try supervisor.check() }
        ) { () throws(Failure) in
            while true {
                let device = try ProxyDevice(from: control)
                if try isReserved(device.number, in: runDirectory) {
                    try supervisor.reserve(device)
                    continue
                }
                try supervisor.serve(device)
                return try Registration.wait(
                    for: device,
                    timeout: Self.registrationTimeout
                ) { () throws(Failure) in try supervisor.check() }
            }
        }
    }

    /// Returns whether a cgroup or a living container's lease has this number; an unreadable lease reserves none.
    private func isReserved(_ number: UInt32, in runDirectory: borrowing Descriptor) throws(Failure) -> Bool {
        var isReserved = try HeldNumbers.contain(number, in: runDirectory)
        _ = try Leases.each(in: runDirectory) { (_, lease) throws(Failure) in
            guard let lease, lease.tpmNumber == number, try lease.container.isAlive() else { return }
            isReserved = true
        }
        return isReserved
    }

    private func writeLease(
        of registered: RegisteredTPM,
        _ request: CreationRequest,
        _ container: borrowing ContainerInit,
        _ cgroup: ContainerCgroup?,
        _ supervisor: SupervisorLink,
        _ worker: pid_t,
        _ library: LibraryVersion,
        _ place: Lease.Place
    ) throws(Failure) -> Lease {
        let lease = Lease(
            containerID: state.id,
            bundle: state.bundle,
            stateID: request.stateIdentity.stateID,
            initProcess: container.identity,
            cgroup: cgroup?.identity,
            supervisor: try ProcessID(of: supervisor.process),
            worker: try ProcessID(of: worker),
            library: library,
            tpmNumber: registered.number,
            tpm: "\(registered.tpm)",
            tpmrm: "\(registered.tpmrm)",
            place: place
        )
        try supervisor.write(lease)
        return lease
    }
}
