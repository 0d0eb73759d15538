import Configuration
import Glibc
import Launch
import Platform
import RuntimeControl
import RuntimeLease
import RuntimeState
import VTPMProxy

/// Whether a container gets a TPM.
enum Selected: Sendable {
    /// It gets none.
    case none
    /// It gets one; the bundle's configuration is there if it was read for the decision.
    case tpm(BundleFile?)
}

// The steps that only read and decide, before anything is made for the container.
extension Creation {
    /// Decides whether the container gets a TPM, from its annotations and the operator's configuration.
    ///
    /// Most containers get one without saying so. Only the others have their `config.json` read here, since runtime and
    /// `config.json` must agree on the annotations; of most, it is read while the supervisor's programs load.
    func select() throws(Failure) -> Selected {
        let allowed = try setting.loadConfiguration().container
        let given = try Annotations(state: state.annotations, bundle: state.annotations)
        if given.areSilent, allowed.selection == .all { return .tpm(nil) }
        let file = try BundleConfig.load(bundle: state.bundle)
        let agreed = try Annotations(state: state.annotations, bundle: file.config.annotations)
        return try agreed.selectTPM(allowed) ? .tpm(file) : .none
    }

    /// Returns whether an earlier call of this creation has given the container its TPM.
    ///
    /// An engine that is told of the hook in two ways calls it twice: podman for a CDI device and a hooks.d file, any
    /// runtime for both `createRuntime` and `prestart`. A second TPM would be in the way of the first.
    ///
    /// - Throws: ``Failure`` if the container of another init has this ID and is alive, or if the TPM was lost.
    func hasTPM(
        _ container: borrowing ContainerInit,
        _ leaseName: String,
        in runDirectory: borrowing Descriptor
    ) throws(Failure) -> Bool {
        guard let opened = try OpenLease.open(leaseName, in: runDirectory), let lease = try opened.read(),
            try lease.container.isAlive()
        else { return false }
        let what = "cannot start the vTPM"
        guard lease.initProcess == container.identity else { throw hasOne(lease) }
        guard try lease.supervisor.isAlive(), try lease.worker.isAlive() else {
            throw Failure(
                what,
                because: "tpm\(lease.tpmNumber), which an earlier call of the hook has made, was lost",
                hint: "create the container again"
            )
        }
        Log.notice("the hook was called twice: container \"\(state.id)\" has tpm\(lease.tpmNumber) already")
        return true
    }

    /// Refuses a second container of this ID while the first one lives.
    func requireNone(_ leaseName: String, in runDirectory: borrowing Descriptor) throws(Failure) {
        guard let opened = try OpenLease.open(leaseName, in: runDirectory), let lease = try opened.read(),
            try lease.container.isAlive()
        else { return }
        throw hasOne(lease)
    }

    private func hasOne(_ lease: Lease) -> Failure {
        Failure(
            "cannot start the vTPM",
            because: "container \"\(state.id)\" has one already (init \(lease.initProcess.process))",
            hint: "stop that container, with all its processes, before another one gets its ID"
        )
    }

    /// Acquires a slot, after a wait if none is free; takes the bundle's configuration if it was read already.
    ///
    /// Only a wait needs the hook's timeout from `config.json`. Most containers need not wait, and their `config.json`
    /// is read while the supervisor's programs load.
    ///
    /// - Returns: The bundle's configuration if it was read for the timeout, or before; nil otherwise.
    func acquireSlot(
        on control: borrowing Descriptor,
        for process: borrowing ProcessHandle,
        _ bundle: BundleFile?
    ) throws(Failure) -> BundleFile? {
        if try CreationSlot.tryAcquire(on: control) { return bundle }
        let file: BundleFile
        if let bundle { file = bundle } else { file = try BundleConfig.load(bundle: state.bundle) }
        try awaitSlot(on: control, for: process, hookTimeout: file.config.timeout(ofHook: "vtpm-hook"))
        return file
    }

    /// Waits for a slot, as long as a hook with this timeout in seconds may.
    func awaitSlot(
        on control: borrowing Descriptor,
        for process: borrowing ProcessHandle,
        hookTimeout: Int?
    ) throws(Failure) {
        let timeout = CreationSlot.timeout(ofHook: hookTimeout)
        try CreationSlot.acquire(on: control, until: Deadline(milliseconds: timeout)) { () throws(Failure) in
            // If the runtime is killed, its container dies with it, but the hook lives on.
            guard try process.isAlive() else {
                throw Failure("cannot start the vTPM", because: "the container's init ended")
            }
        }
    }

    /// Reads both configurations, unless the bundle's was read already, and decides which state the container gets.
    ///
    /// The launch is described if something is known of the container's root file system.
    func readRequest(
        _ bundle: BundleFile?,
        of container: borrowing ContainerInit,
        root: RootContent?
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
        var request = try request(file.config, configuration)
        if let root { request.launch = try launchEvent(of: file.content, path: file.path, configuration, root) }
        return request
    }

    /// Decides which state the container gets.
    func request(_ config: BundleConfig, _ configuration: Configuration) throws(Failure) -> CreationRequest {
        let cgroup = config.linux?.cgroupsPath
        let pod = try CRIBundle.check(of: state.id, at: state.bundle, cgroupsPath: cgroup, configuration.state)
        return try CreationRequest(of: state, config, configuration, pod) { (containerID) throws(Failure) in
            access("\(hostPaths.states)/\(try StateDirectoryName.encoded(containerID))", F_OK) == 0
        }
    }

    /// Refuses a container whose `/dev` cannot take the nodes; returns the owner of the nodes.
    func examineDev(
        _ request: CreationRequest,
        of container: borrowing ContainerInit
    ) throws(Failure) -> DeviceOwner {
        let group = request.configuration.device.group
        let named = try Placement.examine(container.process, rootPath: request.rootPath, group: group?.name)
        return try container.users.deviceOwner(of: request.config, group: named ?? group?.id)
    }
}
