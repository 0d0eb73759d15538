import CLinux
import Glibc
import Platform
import Systemd
import VTPMProxy

/// A container's access to devices, which its cgroups have to permit in addition to the nodes' owner and mode.
///
/// ``end()`` must be called when it is no longer needed.
struct DeviceAccess {
    /// What a container is doing, and so who may be in its cgroups.
    enum Stage: Sendable {
        /// It is being created: its cgroups have its init and nobody else.
        case creation
        /// It is running: its cgroups have its processes. That they were its own was found out when it was created; a
        /// process of another container that the host has put there since could use the TPM ever since.
        case running
    }

    let process: pid_t
    let cgroups: Cgroups
    let subtree: ContainerSubtree
    let systemd: SystemdClient?
    let probe: DeviceAccessProbe
    let stage: Stage

    /// Finds a container's cgroups, and starts the probe that enters them.
    ///
    /// The probe enters them in the background, while the TPM starts.
    ///
    /// - Parameters:
    ///   - initProcess: The container's first process. A pidfd does not keep the process ID from being reused, so it is
    ///     checked again once its cgroups have been read.
    ///   - cgroupsPath: `linux.cgroupsPath` of the container's configuration.
    ///   - systemd: The host's systemd; nil if it has none.
    ///   - program: The path of the hook's program.
    ///   - stage: What the container is doing.
    /// - Throws: ``Failure`` if the cgroups cannot be found.
    init(
        of initProcess: borrowing ProcessHandle,
        cgroupsPath: String?,
        systemd: SystemdClient?,
        probe program: String,
        stage: Stage = .creation
    ) throws(Failure) {
        self.stage = stage
        process = initProcess.process
        subtree = try ContainerSubtree(cgroupsPath: cgroupsPath)
        cgroups = try Cgroups(of: process)
        guard try initProcess.isAlive() else {
            throw Failure("cannot find the control groups of the container", because: "the container's init ended")
        }
        self.systemd = systemd
        probe = try DeviceAccessProbe(program: program, in: cgroups)
    }

    /// Ends the probe, and waits until it has left the cgroups.
    func end() { probe.end() }

    /// Refuses a container in a unit of systemd's that cannot be handled, before anything is made for it.
    ///
    /// If its cgroups allow a TPM already, the unit does not matter. The probe checks nodes with the numbers that the
    /// kernel would hand out next. They are on a tmpfs in a mount namespace of the hook's own. If the kernel hands out
    /// other numbers, ``allow(_:nodes:)`` finds that out.
    ///
    /// - Parameter directory: The path of the directory to mount the tmpfs on.
    /// - Throws: ``Failure`` if the container could not use its TPM.
    func examine(mountingOn directory: String) throws(Failure) {
        guard case .systemd(let name) = subtree else { return }
        do {
            _ = try unit(name)
        } catch {
            guard let next = try Registration.next() else { return }
            let nodes = try DeviceNodes.unseen(of: next, mountedOn: directory)
            guard try isAllowed([nodes.tpm.number, nodes.tpmrm.number], Self.what([next.tpm, next.tpmrm])) else {
                throw error
            }
        }
    }

    /// Lets the container read and write character devices, and checks that it can.
    ///
    /// A program of version 2 that already allows them stays as it is, as in a privileged container. A change ends with
    /// the container's cgroups, so it needs no undo.
    ///
    /// - Parameters:
    ///   - devices: The numbers of the devices.
    ///   - nodes: Their nodes, opened with O_PATH.
    /// - Throws: ``Failure`` if the container cannot use all of them.
    func allow(_ devices: [DeviceNumber], nodes: [CInt]) throws(Failure) {
        // The probe leaves the cgroups in the background.
        defer { probe.leave() }
        let what = Self.what(devices)
        guard try Set(DeviceAccessProbe.devices(of: nodes)) == Set(devices) else {
            throw Failure(what, because: "the nodes to try it on are of other devices")
        }
        // A program that already allows the devices stays as it is, so nothing has to be asked first.
        let unpatchable: Failure?
        do {
            var own = subtree
            if case .systemd(let name) = subtree { own = try allow(devices, in: try unit(name)) }
            try allowInLegacyHierarchy(devices, own)
            unpatchable = try allowInUnifiedHierarchy(devices, own, what)
        } catch {
            guard try isAllowed(nodes, what) else { throw error }
            return
        }
        if try isAllowed(nodes, what) { return }
        if let unpatchable { throw unpatchable }
        throw try denial(of: devices, what)
    }

    /// Returns whether the container can use character devices, and changes nothing; the parameters are as in
    /// ``allow(_:nodes:)``.
    func allows(_ devices: [DeviceNumber], nodes: [CInt]) throws(Failure) -> Bool {
        defer { probe.leave() }
        return try isAllowed(nodes, Self.what(devices))
    }

    private static func what(_ devices: [DeviceNumber]) -> String {
        "cannot allow the container to use \(devices.map(\.description).joined(separator: ", "))"
    }

    private func isAllowed(_ nodes: [CInt], _ what: String) throws(Failure) -> Bool {
        let verdicts = try probe.ask(nodes)
        // Other programs can move processes: a verdict counts only if the probe is still in the container's cgroups.
        try cgroups.check(processes: [process, probe.process])
        for case .failed(let code) in verdicts { throw Failure(what, call: "faccessat2", code: code) }
        return verdicts.allSatisfy { $0 == .allowed }
    }

    /// Returns the container's own cgroups in a hierarchy from the bottom up; throws during a creation if they have
    /// other processes.
    private func ownCgroups(
        in hierarchy: CgroupHierarchy,
        _ subtree: ContainerSubtree
    ) throws(Failure) -> [CgroupPath] {
        let levels = subtree.levels(from: hierarchy.leaf, hook: hierarchy.hook)
        if !levels.isEmpty, stage == .creation { try hierarchy.check(process: process, isAloneBut: probe.process) }
        return levels
    }

    /// Adds the rule in version 1, from the top down: a cgroup can allow only what its parent allows.
    ///
    /// Documentation/admin-guide/cgroup-v1/devices.rst
    private func allowInLegacyHierarchy(_ devices: [DeviceNumber], _ subtree: ContainerSubtree) throws(Failure) {
        guard let hierarchy = cgroups.legacyDevices else { return }
        for cgroup in try ownCgroups(in: hierarchy, subtree).reversed() {
            let name = "\(hierarchy.name(of: cgroup))/devices.allow"
            let file = try hierarchy.open("devices.allow", of: cgroup, .beneath(O_WRONLY))
            for device in devices {
                // The kernel takes one rule with each write.
                do {
                    try file.writeAll(Array("c \(device) rw".utf8), name)
                } catch let error where error.code == EPERM {
                    throw error.withHint("allow c \(device) rw in the control group above it")
                }
            }
        }
    }

    /// Adds the rule in version 2, where every program up to the root has to allow the access.
    ///
    /// The programs above the container's own cgroups stay as they are.
    ///
    /// - Returns: The error for the first program that could not be replaced; nil if there is none.
    private func allowInUnifiedHierarchy(
        _ devices: [DeviceNumber],
        _ subtree: ContainerSubtree,
        _ what: String
    ) throws(Failure) -> Failure? {
        guard let hierarchy = cgroups.unified else { return nil }
        let patcher = DeviceProgramPatcher(kernel: KernelBPF(), devices: devices)
        var failure: Failure?
        for cgroup in try ownCgroups(in: hierarchy, subtree) {
            let directory = try hierarchy.open(cgroup)
            guard let program = try patcher.apply(to: directory.number).first, failure == nil else { continue }
            let reason = program.reason
            failure = Failure(
                what,
                because: "device filter \(program.id) of \(hierarchy.name(of: cgroup)): \(reason.what): \(reason.why)",
                hint: reason.hint
            )
        }
        return failure
    }
}
