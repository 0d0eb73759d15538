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
        guard case .tpm(let bundle) = try select() else { return try refuseUnselected() }
        let container = try ContainerInit(of: state.pid)
        let runDirectory = try openOwnDirectory(hostPaths.leases)
        try runDirectory.requireOwn(files: [], hostPaths.leases)
        let leaseName =
            setting.prepared == nil
            ? try Lease.name(containerID: state.id, bundle: state.bundle)
            : try OpenLease.preparedName(containerID: state.id, bundle: state.bundle, in: runDirectory)
        // What was prepared, and the nodes of an earlier call, would be in the way of every step below.
        if try hasAdopted(container, leaseName, in: runDirectory) { return }
        if try hasTPM(container, leaseName, in: runDirectory) { return }
        let measured = try measureRoot(bundle, of: container.process)
        let control = try openProxyControl()
        let file = try acquireSlot(on: control, for: container.process, measured.bundle)
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
        let request = try readRequest(file, of: container, root: measured.root)
        Log.subject.state = request.stateIdentity.stateID
        let examined = try examine(request, of: container, systemd)
        defer { examined.end() }
        try examined.deviceAccess.examine(mountingOn: hostPaths.leases)

        let cgroup = examined.cgroup
        let identity = ContainerIdentity(initProcess: container.identity, cgroup: cgroup?.identity)
        let host = try begin(supervisor, request.state, leaseName, identity, container.watch(cgroup), runDirectory)
        let worker = try supervisor.awaitWorker(container.procfs)
        let scope = try place.beginScope(
            for: state.id,
            of: container.process,
            container.procfs,
            supervisor: supervisor.process,
            worker: worker,
            using: [hostPaths.states, hostPaths.leases]
        )
        let started = try supervisor.awaitReady { () throws(Failure) in try startAuthority(for: request.state, host) }
        keysLock.release()
        let registered = try registerDevice(from: control, supervisor, runDirectory)
        Log.subject.tpm = registered.number
        keepRandomnessFromVTPMs(new: registered.number, in: runDirectory)
        let livingPlace = try place.finish(scope, worker: worker, container.procfs)
        // The lease reserves the number for as long as the container lives, even if hook and supervisor are killed. So
        // it must be written before the container has a node.
        let lease = try writeLease(
            of: registered,
            request.state,
            identity,
            supervisor,
            worker.process,
            started,
            livingPlace,
            in: runDirectory
        )
        try complete(lease, named: leaseName, for: container, examined, supervisor, in: runDirectory)
    }
}
