import Configuration
import Glibc
import Platform
import RuntimeControl
import RuntimeKeys
import RuntimeLease
import RuntimeState
import VTPMProxy

/// The `createRuntime` and `prestart` stages: a container gets its TPM, or an error and nothing.
public struct Creation {
    private let state: ContainerState
    private let hostPaths: HostPaths
    private let setting: HookSetting

    /// How long the kernel may take to register the device, in milliseconds.
    private static let registrationTimeout = 10_000
    /// How long the hooks of other containers may take to have theirs registered, in milliseconds.
    private static let registrationLockTimeout = 50_000

    /// A creation for a container in this state.
    public init(of state: ContainerState, on hostPaths: HostPaths, _ setting: HookSetting) {
        self.state = state
        self.hostPaths = hostPaths
        self.setting = setting
    }

    /// Gives the container its TPM.
    ///
    /// On an error everything is undone.
    public func run() throws(Failure) {
        let container = try ContainerInit(of: state.pid)
        let runDirectory = try openOwnDirectory(hostPaths.leases)
        try runDirectory.requireOwn(files: [], hostPaths.leases)
        let leaseName = try Lease.name(containerID: state.id, bundle: state.bundle)
        // The nodes of a first call would be in the way of everything below.
        try refuseSecond(leaseName, in: runDirectory)
        let control = try openProxyControl()
        let bundle = try acquireSlot(on: control, for: container)
        // Who changes the keys waits for those who have read the configuration, until what they make of it is written.
        let keysLock = try HostContext.lockKeys(hostPaths, shared: true)

        // Nothing is waited for from here on, so that its programs load while the rest is read.
        let supervisor = try startSupervisor()
        let leftovers = Leftovers(on: hostPaths, setting)
        defer { supervisor.abandonUnlessCommitted(in: runDirectory, leftovers) }
        leftovers.removeAll(in: runDirectory)

        // Nothing is made for a container that cannot have its TPM.
        let request = try readRequest(bundle, of: container)
        Log.subject.state = request.stateIdentity.stateID
        let selinux = try SELinuxAccess(of: request.config, SELinuxPolicy.current(container.procfs))
        try selinux?.examine()
        let owner = try examineDev(request, of: container)
        let deviceAccess = try DeviceAccess(
            of: container.process,
            cgroupsPath: request.config.linux?.cgroupsPath,
            probe: hostPaths.program("vtpm-hook")
        )
        defer { deviceAccess.end() }
        try deviceAccess.examine(mountingOn: hostPaths.leases)

        try begin(supervisor, request, leaseName, container, runDirectory)
        let (worker, library) = try supervisor.awaitReady()
        keysLock.release()
        let registered = try registerDevice(from: control, supervisor, runDirectory)
        Log.subject.tpm = registered.number
        // Before the container has a node: whatever is killed from here on, the number is its own until its init is dead.
        try writeLease(of: registered, request, container, supervisor, worker, library)
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
            try supervisor.commit()
        }
    }
}

// What is read and decided: nothing is made for the container.
extension Creation {
    /// Refuses a second hook call for a container that lives and has its lease: it would get a second TPM.
    private func refuseSecond(_ leaseName: String, in runDirectory: borrowing Descriptor) throws(Failure) {
        guard let opened = try OpenLease.open(leaseName, in: runDirectory), let lease = try opened.read(),
            try lease.initProcess.isAlive()
        else { return }
        throw Failure(
            "cannot start the vTPM",
            because: "container \"\(state.id)\" has one already (init \(lease.initProcess.process))",
            hint: "configure the hook for createRuntime or for prestart, and not for both"
        )
    }

    /// Acquires a slot; returns the bundle's configuration if it had to be read, to learn how long the hook may wait.
    ///
    /// Most containers need not wait, and theirs is read while programs load.
    private func acquireSlot(
        on control: borrowing Descriptor,
        for container: borrowing ContainerInit
    ) throws(Failure) -> BundleFile? {
        if try CreationSlot.tryAcquire(on: control) { return nil }
        let file = try BundleConfig.load(bundle: state.bundle)
        let timeout = CreationSlot.timeout(ofHook: file.config.timeout(ofHook: "vtpm-hook"))
        try CreationSlot.acquire(on: control, until: Deadline(milliseconds: timeout)) { () throws(Failure) in
            // A runtime that was killed takes its container with it, and not its hook.
            guard try container.process.isAlive() else {
                throw Failure("cannot start the vTPM", because: "the container's init ended")
            }
        }
        return file
    }

    /// Reads both configurations, unless the bundle's was read already, and decides what the container gets.
    private func readRequest(
        _ bundle: BundleFile?,
        of container: borrowing ContainerInit
    ) throws(Failure) -> CreationRequest {
        let configuration = try setting.loadConfiguration()
        let file: BundleFile
        if let bundle { file = bundle } else { file = try BundleConfig.load(bundle: state.bundle) }
        try BundleOrigin.check(
            file,
            of: state,
            container.process,
            startTime: container.identity.startTime,
            container.procfs
        )
        return try CreationRequest(of: state, file.config, configuration) { (containerID) throws(Failure) in
            access("\(hostPaths.states)/\(try StateDirectoryName.encoded(containerID))", F_OK) == 0
        }
    }

    /// Refuses a container whose `/dev` cannot take the nodes; returns who is to own them.
    private func examineDev(
        _ request: CreationRequest,
        of container: borrowing ContainerInit
    ) throws(Failure) -> DeviceOwner {
        let group = request.configuration.device.group
        let named = try Placement.examine(container.process, rootPath: request.rootPath, group: group?.name)
        return try container.users.deviceOwner(of: request.config, group: named ?? group?.id)
    }
}

// The steps that make something, in their order.
extension Creation {
    private func startSupervisor() throws(Failure) -> SupervisorLink {
        try SupervisorLink(
            program: hostPaths.program("vtpm-supervisor"),
            worker: hostPaths.program("vtpm-worker")
        )
    }

    /// Asks the supervisor for the vTPM, and hands it directories and keys if the state is persistent.
    private func begin(
        _ supervisor: SupervisorLink,
        _ request: CreationRequest,
        _ leaseName: String,
        _ container: borrowing ContainerInit,
        _ runDirectory: borrowing Descriptor
    ) throws(Failure) {
        var start = StartRequest(
            storage: .ephemeral,
            containerID: state.id,
            bundle: state.bundle,
            leaseName: leaseName,
            initProcess: container.identity
        )
        guard case .persistent(let stateID, let formerID) = request.stateIdentity else {
            return try supervisor.begin(
                start,
                keys: [],
                runDirectory: runDirectory,
                initProcess: container.process,
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
            initProcess: container.process,
            directories: [host.states.number, host.indexDirectory.number]
        )
    }

    /// Makes the device, has it served, and waits until the kernel has registered it.
    ///
    /// Numbers are handed out lowest-free. One that a living container's lease names is free only because its supervisor
    /// was killed; that container still has the node and the permission, so the number must not go to another.
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

    /// Whether a living container's lease names this number; a lease that cannot be read names none.
    private func isReserved(_ number: UInt32, in runDirectory: borrowing Descriptor) throws(Failure) -> Bool {
        var isReserved = false
        _ = try Leases.each(in: runDirectory) { (_, lease) throws(Failure) in
            guard let lease, lease.tpmNumber == number, try lease.initProcess.isAlive() else { return }
            isReserved = true
        }
        return isReserved
    }

    private func writeLease(
        of registered: RegisteredTPM,
        _ request: CreationRequest,
        _ container: borrowing ContainerInit,
        _ supervisor: SupervisorLink,
        _ worker: pid_t,
        _ library: LibraryVersion
    ) throws(Failure) {
        try supervisor.write(
            Lease(
                containerID: state.id,
                bundle: state.bundle,
                stateID: request.stateIdentity.stateID,
                initProcess: container.identity,
                supervisor: ProcessID(of: supervisor.process),
                worker: ProcessID(of: worker),
                library: library,
                tpmNumber: registered.number,
                tpm: "\(registered.tpm)",
                tpmrm: "\(registered.tpmrm)"
            )
        )
    }
}
