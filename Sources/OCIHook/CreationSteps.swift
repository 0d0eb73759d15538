import Configuration
import Glibc
import Launch
import Platform
import Proof
import RuntimeControl
import RuntimeKeys
import RuntimeLease
import RuntimePool
import RuntimeState
import VTPMProxy

// The steps that make something, in their order.
extension Creation {
    /// The timeout for the kernel to register the device, in milliseconds.
    private static let registrationTimeout = 10_000

    func startSupervisor(in place: VTPMPlace) throws(Failure) -> SupervisorLink {
        try SupervisorLink(
            program: hostPaths.program("vtpm-supervisor"),
            worker: hostPaths.program("vtpm-worker"),
            in: place
        )
    }

    /// Sends the start request, with keys and directories if the state is persistent; returns what it has opened for that.
    func begin(
        _ supervisor: SupervisorLink,
        _ requested: RequestedState,
        _ leaseName: String,
        _ container: ContainerIdentity,
        _ watch: borrowing ContainerWatch,
        _ runDirectory: borrowing Descriptor
    ) throws(Failure) -> HostContext? {
        var start = StartRequest(
            storage: .ephemeral,
            containerID: state.id,
            bundle: state.bundle,
            leaseName: leaseName,
            initProcess: container.initProcess,
            keys: requested.configuration.manufacture.requestedKeys,
            endorsement: requested.configuration.manufacture.endorsement(
                isEphemeral: requested.identity.stateID == nil
            ),
            isMeasured: requested.launch != nil,
            cgroup: container.cgroup
        )
        guard case .persistent(let stateID, let formerID) = requested.identity else {
            try supervisor.begin(
                start,
                keys: [],
                launch: requested.launch,
                runDirectory: runDirectory,
                container: watch,
                directories: []
            )
            return nil
        }
        let host = try openHost(requested.configuration)
        let pooled = claimFromPool(for: stateID, requested.configuration, host)
        start.pooled = pooled?.library
        start.storage = .persistent(
            PersistentStorage(
                stateID: stateID,
                formerStateID: formerID,
                statesPath: hostPaths.states,
                indexPath: hostPaths.index,
                keyCount: UInt8(host.keys.all.count),
                counter: host.counter,
                keptFor: requested.keptFor
            )
        )
        try supervisor.begin(
            start,
            keys: host.keys.all,
            pooled: pooled?.state,
            launch: requested.launch,
            runDirectory: runDirectory,
            container: watch,
            directories: [host.states.number, host.indexDirectory.number]
        )
        return host
    }

    /// Creates the device, has the worker serve it, and waits until the kernel has registered it.
    ///
    /// The kernel hands out the lowest free number. If a living container's lease has that number, it is free only
    /// because the supervisor was killed. That container still has the node and the permission, so the number must not
    /// go to another. Neither must one that a cgroup holds.
    func registerDevice(
        from control: borrowing Descriptor,
        _ supervisor: SupervisorLink,
        _ runDirectory: borrowing Descriptor
    ) throws(Failure) -> RegisteredTPM {
        while true {
            let device = try ProxyDevice(from: control)
            if try isReserved(device.number, in: runDirectory) {
                try supervisor.reserve(device)
                continue
            }
            try supervisor.serve(device)
            return try Registration.wait(for: device, timeout: Self.registrationTimeout) { () throws(Failure) in
                try supervisor.check()
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

    func writeLease(
        of registered: RegisteredTPM,
        _ requested: RequestedState,
        _ container: ContainerIdentity,
        _ supervisor: SupervisorLink,
        _ worker: pid_t,
        _ started: StartedTPM,
        _ place: Lease.Place,
        in runDirectory: borrowing Descriptor
    ) throws(Failure) -> Lease {
        let lease = Lease(
            containerID: state.id,
            bundle: state.bundle,
            stateID: requested.identity.stateID,
            initProcess: container.initProcess,
            cgroup: container.cgroup,
            supervisor: try ProcessID(of: supervisor.process),
            worker: try ProcessID(of: worker),
            library: started.library,
            tpmNumber: registered.number,
            tpm: "\(registered.tpm)",
            tpmrm: "\(registered.tpmrm)",
            place: place
        )
        guard let log = supervisor.launchLog(of: started) else {
            try supervisor.write(lease)
            return lease
        }
        try supervisor.write(lease, log, manifest: manifest(of: lease, started, log, in: runDirectory).encoded)
        return lease
    }
}
