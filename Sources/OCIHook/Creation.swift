import Glibc
import Platform
import RuntimeControl
import RuntimeLease
import RuntimeState
import VTPMProxy

/// The `createRuntime` and `prestart` stages: a container gets its TPM, or an error and nothing.
public struct Creation {
    private let state: ContainerState
    private let installation: Installation

    /// How long the kernel may take to register the device, in milliseconds.
    private static let registrationPatience = 10_000

    /// A creation for a container in this state.
    public init(of state: ContainerState, on installation: Installation) {
        self.state = state
        self.installation = installation
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
        try ContainerState.checkAnnotations(state.annotations)
        let config = try BundleConfig.load(bundle: state.bundle)
        try ContainerState.checkAnnotations(config.annotations)
        let rootPath = try config.rootPath(bundle: state.bundle)
        let owner = try config.deviceOwner()
        guard config.mountsOwnDev else {
            throw Failure(
                "cannot put the TPM into the container's /dev",
                because: "it is no tmpfs of its own",
                remedy: ContainerDev.devRemedy
            )
        }
        try requireNamespaces(of: initProcess)
        try Placement.examine(initProcess, rootPath: rootPath)

        let runDirectory = try openOwnDirectory(installation.leases)
        let leaseName = try StateName.lease(containerID: state.id, bundle: state.bundle)
        try refuseSecond(leaseName, in: runDirectory)
        let states = try openOwnDirectory(installation.states)
        let indexDirectory = try openOwnDirectory(installation.index)
        let keys = try openOwnDirectory(installation.keys)
        let key = try MasterKeyFile.load(
            "master.key",
            in: keys,
            path: "\(installation.keys)/master.key",
            isFirstUse: StateRepository.isUnused(states: states, indexDirectory: indexDirectory)
        )

        let supervisor = try SupervisorLink.start(
            program: installation.program("vtpm-supervisor"),
            order: StartOrder(
                storage: .persistent(
                    PersistentStorage(
                        stateID: state.id,
                        statesPath: installation.states,
                        indexPath: installation.index
                    )
                ),
                containerID: state.id,
                bundle: state.bundle,
                leaseName: leaseName,
                initProcess: identity,
                workerPath: installation.program("vtpm-worker")
            ),
            keys: [key],
            runDirectory: runDirectory,
            initProcess: initProcess,
            directories: [states.number, indexDirectory.number]
        )
        defer { supervisor.abandonUnlessCommitted(leaseName, in: runDirectory) }
        let worker = try supervisor.awaitReady()
        let registered = try makeDevice(supervisor, runDirectory)

        guard let leaseDirectory = try Leases.open(leaseName, in: runDirectory) else {
            throw Failure("cannot start the vTPM", because: "its lease is gone")
        }
        try Placement.place(
            registered,
            owner: owner,
            in: initProcess,
            rootPath: rootPath,
            privateMountPoint: "\(installation.leases)/\(leaseName)"
        ) { (tpm, tpmrm) throws(Failure) in
            try DeviceCgroup.allow(
                [registered.tpm, registered.tpmrm],
                for: pid,
                cgroupsPath: config.linux?.cgroupsPath,
                probe: AccessProbe(program: installation.program("vtpm-hook"), nodes: [tpm.number, tpmrm.number])
            )
            let lease = Lease(
                containerID: state.id,
                bundle: state.bundle,
                stateID: state.id,
                initProcess: identity,
                supervisor: try ProcessIdentity(of: supervisor.process),
                worker: try ProcessIdentity(of: worker),
                tpmNumber: registered.number,
                tpm: "\(registered.tpm)",
                tpmrm: "\(registered.tpmrm)"
            )
            try lease.write(in: leaseDirectory)
            try supervisor.commit()
        }
    }

    /// A container that lives keeps its lease: a second hook call for it would give it a second TPM.
    private func refuseSecond(_ leaseName: String, in runDirectory: borrowing Descriptor) throws(Failure) {
        guard let directory = try Leases.open(leaseName, in: runDirectory),
            let lease = try Lease.read(in: directory, leaseName), try lease.initProcess.isAlive()
        else { return }
        throw Failure("cannot start the vTPM", because: "container \"\(state.id)\" has one (init \(lease.initPID))")
    }

    /// Makes the device, has it served, and waits until the kernel has registered it.
    ///
    /// Numbers are handed out lowest-free. One that a living container's lease names is free only because its supervisor
    /// was killed; that container still has the node and the permission, so the number must not go to another.
    private func makeDevice(
        _ supervisor: SupervisorLink,
        _ runDirectory: borrowing Descriptor
    ) throws(Failure) -> RegisteredTPM {
        let control = try openProxyControl()
        while true {
            let device = try ProxyDevice(from: control)
            if try isReserved(device.number, in: runDirectory) {
                try supervisor.occupy(device)
                continue
            }
            try supervisor.serve(device)
            return try Registration.wait(
                for: device,
                until: Deadline(milliseconds: Self.registrationPatience)
            ) { () throws(Failure) in try supervisor.check() }
        }
    }

    private func isReserved(_ number: UInt32, in runDirectory: borrowing Descriptor) throws(Failure) -> Bool {
        for (name, lease) in try Leases.all(in: runDirectory) {
            if try lease.initProcess.isAlive() {
                if lease.tpmNumber == number { return true }
            } else if try !lease.supervisor.isAlive() {
                // Its supervisor was killed, and no poststop came.
                try LeaseFiles.remove(name, in: runDirectory)
            }
        }
        return false
    }
}
