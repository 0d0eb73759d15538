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
    private let installation: Installation
    private let setting: HookSetting

    /// How long the kernel may take to register the device, or any other, in milliseconds.
    private static let registrationPatience = 10_000
    /// How long the hooks of other containers may take to have theirs registered, in milliseconds.
    private static let turnPatience = 50_000

    /// A creation for a container in this state.
    public init(of state: ContainerState, on installation: Installation, _ setting: HookSetting) {
        self.state = state
        self.installation = installation
        self.setting = setting
    }

    /// Gives the container its TPM.
    ///
    /// On an error everything is undone.
    public func run() throws(Failure) {
        guard let pid = state.pid, pid > 0 else {
            throw Failure("cannot give the container its TPM", because: "its state has no pid")
        }
        let initProcess = try ProcessReference(pid)
        let identity = try ProcessIdentity(of: pid)
        let procfs = try Procfs()
        try requireNamespaces(of: initProcess, procfs)
        let users = try UserNamespace(of: initProcess, procfs)
        let runDirectory = try openOwnDirectory(installation.leases)
        try runDirectory.requireOwn(files: [], installation.leases)
        let leaseName = try StateName.lease(containerID: state.id, bundle: state.bundle)
        // First of all: what its first call has put into the container would be in the way of everything else.
        try refuseSecond(leaseName, in: runDirectory)
        let control = try openProxyControl()
        let configWhileWaiting = try takePlace(on: control, for: initProcess)
        // Whoever changes the keys waits for those who have read the configuration, until what they make of it is written.
        let keysLock = try HostStore.lockKeys(installation, shared: true)
        // Nothing is waited for from here on, so that its programs load while the rest is read.
        let supervisor = try SupervisorLink(
            program: installation.program("vtpm-supervisor"),
            worker: installation.program("vtpm-worker")
        )
        let leftovers = Leftovers(on: installation, setting)
        leftovers.removeAll(in: runDirectory)
        let configuration = try setting.loadConfiguration()
        let file: BundleFile
        if let configWhileWaiting {
            file = configWhileWaiting
        } else {
            file = try BundleConfig.load(bundle: state.bundle)
        }
        let config = file.config
        try BundleOrigin.check(file, of: state, initProcess, startTime: identity.startTime, procfs)
        let annotations = try Annotations(state: state.annotations, bundle: config.annotations)
        let retention = StateIdentity.retention(
            containerID: state.id,
            annotations: annotations,
            allowed: configuration.state
        )
        let stateIdentity: StateIdentity
        if retention == .ephemeral, try !hasState(state.id) {
            stateIdentity = .ephemeral
        } else {
            stateIdentity = try .decide(
                containerID: state.id,
                annotations: annotations,
                allowed: configuration.state
            )
        }
        let rootPath = try config.rootPath(bundle: state.bundle)
        guard config.mountsOwnDev else {
            throw Failure(
                "cannot put the TPM into the container's /dev",
                because: "it is no tmpfs of its own",
                remedy: ContainerDev.devRemedy
            )
        }
        let selinux = try SELinuxAccess(of: config, SELinuxPolicy.current(procfs))
        try selinux?.examine()
        let named = try Placement.examine(initProcess, rootPath: rootPath, group: configuration.device.group?.name)
        let owner = try users.deviceOwner(of: config, group: named ?? configuration.device.group?.id)
        let deviceAccess = try DeviceAccess(
            of: initProcess,
            cgroupsPath: config.linux?.cgroupsPath,
            probe: installation.program("vtpm-hook")
        )
        defer { deviceAccess.end() }
        try deviceAccess.examine(mountingOn: installation.leases)

        let request = StartRequest(
            storage: .ephemeral,
            containerID: state.id,
            bundle: state.bundle,
            leaseName: leaseName,
            initProcess: identity
        )
        defer { supervisor.abandonUnlessCommitted(leaseName, in: runDirectory, leftovers) }
        try begin(
            supervisor,
            request,
            stateIdentity,
            keptFor: retention.keptFor,
            configuration,
            initProcess,
            runDirectory
        )
        let (worker, library) = try supervisor.awaitReady()
        _ = consume keysLock
        let registered = try makeDevice(from: control, supervisor, runDirectory)

        // Before the container has a node: whatever is killed from here on, the number is its own until its init is dead.
        try supervisor.write(
            Lease(
                containerID: state.id,
                bundle: state.bundle,
                stateID: stateIdentity.stateID,
                initProcess: identity,
                supervisor: ProcessIdentity(of: supervisor.process),
                worker: ProcessIdentity(of: worker),
                library: library,
                tpmNumber: registered.number,
                tpm: "\(registered.tpm)",
                tpmrm: "\(registered.tpmrm)"
            )
        )
        try Placement.place(
            registered,
            owner: owner,
            label: selinux?.nodeLabel,
            in: initProcess,
            rootPath: rootPath,
            privateMountPoint: "\(installation.leases)/\(leaseName)"
        ) { (tpm, tpmrm) throws(Failure) in
            try selinux?.check([tpm.number, tpmrm.number])
            try deviceAccess.allow([registered.tpm, registered.tpmrm], nodes: [tpm.number, tpmrm.number])
            try supervisor.commit()
        }
    }

    /// Takes a place; returns the bundle's configuration where it was read, to learn how long it may be waited for.
    ///
    /// Most containers need not wait, and theirs is read while programs load.
    private func takePlace(
        on control: borrowing Descriptor,
        for initProcess: borrowing ProcessReference
    ) throws(Failure) -> BundleFile? {
        if try CreationPlace.take(on: control) { return nil }
        let file = try BundleConfig.load(bundle: state.bundle)
        let patience = CreationPlace.patience(timeout: file.config.timeout(ofHook: "vtpm-hook"))
        try CreationPlace.wait(on: control, until: Deadline(milliseconds: patience)) { () throws(Failure) in
            // A runtime that was killed takes its container with it, and not its hook.
            guard try initProcess.isAlive() else {
                throw Failure("cannot start the vTPM", because: "the container's init ended")
            }
        }
        return file
    }

    /// Gives the supervisor its orders and what the state takes: directories and keys where it is persistent, else nothing.
    private func begin(
        _ supervisor: SupervisorLink,
        _ request: StartRequest,
        _ stateIdentity: StateIdentity,
        keptFor: UInt64?,
        _ configuration: Configuration,
        _ initProcess: borrowing ProcessReference,
        _ runDirectory: borrowing Descriptor
    ) throws(Failure) {
        guard case .persistent(let stateID, let formerID) = stateIdentity else {
            return try supervisor.begin(
                request,
                keys: [],
                runDirectory: runDirectory,
                initProcess: initProcess,
                directories: []
            )
        }
        let host = try HostStore(installation, configuration, credentialsDirectory: setting.credentialsDirectory)
        var request = request
        request.storage = .persistent(
            PersistentStorage(
                stateID: stateID,
                formerStateID: formerID,
                statesPath: installation.states,
                indexPath: installation.index,
                keyCount: UInt8(host.keys.all.count),
                counter: host.counter,
                keptFor: keptFor
            )
        )
        try supervisor.begin(
            request,
            keys: host.keys.all,
            runDirectory: runDirectory,
            initProcess: initProcess,
            directories: [host.states.number, host.indexDirectory.number]
        )
    }

    /// Whether a container has a state already, from before the operator decided that such containers need none.
    ///
    /// Its next start must not give it another TPM.
    private func hasState(_ containerID: String) throws(Failure) -> Bool {
        access("\(installation.states)/\(try StateName.encoded(containerID))", F_OK) == 0
    }

    /// A container that lives keeps its lease: a second hook call for it would give it a second TPM.
    private func refuseSecond(_ leaseName: String, in runDirectory: borrowing Descriptor) throws(Failure) {
        guard let directory = try LeaseFiles.open(leaseName, in: runDirectory),
            let lease = try Lease.read(in: directory, leaseName), try lease.initProcess.isAlive()
        else { return }
        throw Failure(
            "cannot start the vTPM",
            because: "container \"\(state.id)\" has one already (init \(lease.initPID))",
            remedy: "configure the hook for createRuntime or for prestart, and not for both"
        )
    }

    /// Makes the device, has it served, and waits until the kernel has registered it.
    ///
    /// One hook at a time does it: the kernel registers one TPM after the other and gives each 2 s for its self-test and
    /// 750 ms for the answers after it, which is little where dozens of containers start at once. The lock is on
    /// `/dev/vtpmx`, which all of them need.
    ///
    /// Numbers are handed out lowest-free. One that a living container's lease names is free only because its supervisor
    /// was killed; that container still has the node and the permission, so the number must not go to another.
    private func makeDevice(
        from control: borrowing Descriptor,
        _ supervisor: SupervisorLink,
        _ runDirectory: borrowing Descriptor
    ) throws(Failure) -> RegisteredTPM {
        let turn = try RegistrationTurn.take(until: Deadline(milliseconds: Self.turnPatience)) { () throws(Failure) in
            try supervisor.check()
        }
        defer { withExtendedLifetime(turn) {} }
        while true {
            let device = try ProxyDevice(from: control)
            if try isReserved(device.number, in: runDirectory) {
                try supervisor.reserve(device)
                continue
            }
            try supervisor.serve(device)
            return try Registration.wait(
                for: device,
                patience: Self.registrationPatience
            ) { () throws(Failure) in try supervisor.check() }
        }
    }

    /// Whether a living container's lease names this number; a lease that cannot be read names none.
    private func isReserved(_ number: UInt32, in runDirectory: borrowing Descriptor) throws(Failure) -> Bool {
        var isReserved = false
        _ = try Leases.each(in: runDirectory) { (_, _, lease) throws(Failure) in
            guard let lease, lease.tpmNumber == number, try lease.initProcess.isAlive() else { return }
            isReserved = true
        }
        return isReserved
    }
}

/// The turn of one hook to have its device registered by the kernel.
enum RegistrationTurn {
    /// Waits for it until the deadline; it ends with the lock that is returned.
    ///
    /// The control device is opened once more for it: flock(2)'s lock belongs to the open file, which a duplicate shares,
    /// and the hook keeps its own open until it ends.
    static func take(
        until deadline: Deadline,
        at path: String = vtpmxPath,
        checking goesOn: () throws(Failure) -> Void
    ) throws(Failure) -> FileLock {
        try FileLock(of: .open(path, OpenOptions(O_RDWR)), until: deadline, path, checking: goesOn)
    }
}
