import CLinux
import Glibc
import Platform
import VTPMProxy

/// A container's access to devices, which its cgroups have to permit in addition to the nodes' owner and mode.
///
/// ``end()`` must be called when it is no longer needed.
struct DeviceAccess {
    private let process: pid_t
    private let cgroups: Cgroups
    private let subtree: ContainerSubtree
    private let probe: DeviceAccessProbe

    /// Finds a container's cgroups, and starts the probe that enters them.
    ///
    /// The probe enters them in the background, while the TPM starts.
    ///
    /// - Parameters:
    ///   - initProcess: The container's first process. A pidfd does not keep the process ID from being reused, so it is
    ///     checked again once its cgroups have been read.
    ///   - cgroupsPath: `linux.cgroupsPath` of the container's configuration.
    ///   - program: The path of the hook's program.
    /// - Throws: ``Failure`` if the cgroups cannot be found.
    init(
        of initProcess: borrowing ProcessHandle,
        cgroupsPath: String?,
        probe program: String
    ) throws(Failure) {
        process = initProcess.process
        subtree = try ContainerSubtree(cgroupsPath: cgroupsPath)
        cgroups = try Cgroups(of: process)
        guard try initProcess.isAlive() else {
            throw Failure("cannot find the control groups of the container", because: "the container's init ended")
        }
        probe = try DeviceAccessProbe(program: program, in: cgroups)
    }

    /// Ends the probe, and waits until it has left the cgroups.
    func end() { probe.end() }

    /// Refuses a container whose device cgroup denies a TPM and belongs to systemd, before anything is made for it.
    ///
    /// The probe checks nodes with the numbers that the kernel would hand out next. They are on a tmpfs in a mount
    /// namespace of the hook's own. If the kernel hands out other numbers, ``allow(_:nodes:)`` finds that out.
    ///
    /// - Parameter directory: The path of the directory to mount the tmpfs on.
    /// - Throws: ``Failure`` if the container could not use its TPM.
    func examine(mountingOn directory: String) throws(Failure) {
        guard case .systemd(let unit) = subtree, let next = try Registration.next() else { return }
        let nodes = try DeviceNodes.unseen(of: next, mountedOn: directory)
        let devices = [next.tpm, next.tpmrm]
        guard try isAllowed([nodes.tpm.number, nodes.tpmrm.number], Self.what(devices)) else {
            throw Self.refusal(devices, unit: unit)
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
        if case .systemd(let unit) = subtree {
            if try isAllowed(nodes, what) { return }
            throw Self.refusal(devices, unit: unit)
        }
        // A program that already allows the devices stays as it is, so nothing has to be asked first.
        let unpatchable: Failure?
        do {
            try allowInLegacyHierarchy(devices)
            unpatchable = try allowInUnifiedHierarchy(devices, what)
        } catch {
            guard try isAllowed(nodes, what) else { throw error }
            return
        }
        if try isAllowed(nodes, what) { return }
        if let unpatchable { throw unpatchable }
        throw try denial(of: devices, what)
    }

    /// The hint for a cgroup of systemd's.
    ///
    /// A rule in the container's configuration would do too, but its author cannot know the numbers: the kernel hands
    /// them out while the hook runs.
    static let systemdHint = """
        use the cgroupfs driver: podman --cgroup-manager=cgroupfs, dockerd --exec-opt native.cgroupdriver=cgroupfs, \
        SystemdCgroup = false for containerd's runtime; or leave the hook out of this container's configuration
        """

    private static func what(_ devices: [DeviceNumber]) -> String {
        "cannot allow the container to use \(devices.map(\.description).joined(separator: ", "))"
    }

    /// Returns the error for a cgroup of systemd's.
    ///
    /// systemd builds its device program from DeviceAllow again at each daemon-reload, so a changed program would not
    /// last. systemd.resource-control(5)
    private static func refusal(_ devices: [DeviceNumber], unit: String) -> Failure {
        Failure(
            what(devices),
            because: "its control group is systemd's unit \(unit), which this version does not support",
            hint: systemdHint
        )
    }

    private func isAllowed(_ nodes: [CInt], _ what: String) throws(Failure) -> Bool {
        let verdicts = try probe.ask(nodes)
        // Other programs can move processes: a verdict counts only if the probe is still in the container's cgroups.
        try cgroups.check(processes: [process, probe.process])
        for case .failed(let code) in verdicts { throw Failure(what, call: "faccessat2", code: code) }
        return verdicts.allSatisfy { $0 == .allowed }
    }

    /// Returns the container's own cgroups in a hierarchy from the bottom up; throws if they have other processes.
    private func ownCgroups(in hierarchy: CgroupHierarchy) throws(Failure) -> [CgroupPath] {
        let levels = subtree.levels(from: hierarchy.leaf, hook: hierarchy.hook)
        if !levels.isEmpty { try hierarchy.check(process: process, isAloneBut: probe.process) }
        return levels
    }

    /// Adds the rule in version 1, from the top down: a cgroup can allow only what its parent allows.
    ///
    /// Documentation/admin-guide/cgroup-v1/devices.rst
    private func allowInLegacyHierarchy(_ devices: [DeviceNumber]) throws(Failure) {
        guard let hierarchy = cgroups.legacyDevices else { return }
        for cgroup in try ownCgroups(in: hierarchy).reversed() {
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
    private func allowInUnifiedHierarchy(_ devices: [DeviceNumber], _ what: String) throws(Failure) -> Failure? {
        guard let hierarchy = cgroups.unified else { return nil }
        let patcher = DeviceProgramPatcher(kernel: KernelBPF(), devices: devices)
        var failure: Failure?
        for cgroup in try ownCgroups(in: hierarchy) {
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

    /// Returns the error that names the denying programs, in the container's own cgroups and in those above.
    private func denial(of devices: [DeviceNumber], _ what: String) throws(Failure) -> Failure {
        let denying = try denyingPrograms(devices)
        guard !denying.isEmpty else {
            return Failure(
                what,
                because: "the device cgroup denies it",
                hint: "devices.list of its control groups, or bpftool cgroup tree, shows what is allowed"
            )
        }
        let rules = devices.map { "c \($0) rw" }.joined(separator: " and ")
        return Failure(
            what,
            because: "denied by \(denying.joined(separator: " and "))",
            hint: "allow \(rules) there, or end what attached it"
        )
    }

    private func denyingPrograms(_ devices: [DeviceNumber]) throws(Failure) -> [String] {
        guard let hierarchy = cgroups.unified else { return [] }
        let kernel = KernelBPF()
        let patcher = DeviceProgramPatcher(kernel: kernel, devices: devices)
        var denying: [String] = []
        for cgroup in hierarchy.leaf.upwards + [.root] {
            let directory = try hierarchy.open(cgroup)
            for program in try kernel.query(directory.number).programs {
                // A program that was detached meanwhile denies nothing.
                guard let opened = try? kernel.open(program), try !patcher.allowsAll(kernel.dump(opened)) else {
                    continue
                }
                denying.append("device filter \(program) of \(hierarchy.name(of: cgroup))")
            }
        }
        return denying
    }
}

/// The cgroups that belong to a container, as `linux.cgroupsPath` of its configuration says.
///
/// Those above belong to others and stay as they are, since a rule there would also hold for other containers.
enum ContainerSubtree: Equatable, Sendable {
    /// The configuration names none; only the cgroup of the container's process is its own.
    case leaf
    /// The configuration names a cgroup by its path; the runtime chooses the base of a relative one.
    case path(CgroupPath, isAbsolute: Bool)
    /// systemd owns the cgroup, and can build its device program again at any time.
    case systemd(unit: String)

    /// Parses `linux.cgroupsPath`.
    ///
    /// `slice:prefix:name` is the form for the systemd driver. It means the scope `prefix-name.scope`, or the slice
    /// `name` if that ends in `.slice`.
    ///
    /// - Throws: ``Failure`` if the path names no cgroup of the container's own.
    init(cgroupsPath: String?) throws(Failure) {
        guard let cgroupsPath, !cgroupsPath.isEmpty else {
            self = .leaf
            return
        }
        let unusable = Failure(
            "cannot use linux.cgroupsPath \"\(cgroupsPath)\"",
            because: "it names no control group of the container's own"
        )
        let bytes = Array(cgroupsPath.utf8)
        let isAbsolute = bytes[0] == UInt8(ascii: "/")
        let parts = bytes.split(separator: UInt8(ascii: ":"), omittingEmptySubsequences: false)
        if !isAbsolute, parts.count == 3 {
            let (prefix, name) = (String(decoding: parts[1], as: UTF8.self), String(decoding: parts[2], as: UTF8.self))
            guard !name.isEmpty, !parts[2].contains(UInt8(ascii: "/")), !parts[1].contains(UInt8(ascii: "/")) else {
                throw unusable
            }
            let unit = prefix.isEmpty ? name : "\(prefix)-\(name)"
            self = .systemd(unit: name.hasSuffix(".slice") ? name : "\(unit).scope")
            return
        }
        guard let path = CgroupPath(bytes) else { throw unusable }
        self = .path(path, isAbsolute: isAbsolute)
    }

    /// Returns the container's cgroups, from that of its process up to the one that the configuration names.
    ///
    /// The result is empty if that one is not on the way up, or if the hook itself is in one of them. The root is never
    /// the container's.
    ///
    /// - Parameters:
    ///   - leaf: The cgroup of the container's process, below the mount.
    ///   - own: The cgroup of the hook, below the same mount; nil if the mount does not show it.
    /// - Returns: The cgroups from the bottom up.
    func levels(from leaf: CgroupPath, hook own: CgroupPath?) -> [CgroupPath] {
        let upwards = leaf.upwards
        let top: Int?
        switch self {
        case .leaf:
            top = upwards.indices.first
        case .path(let path, let isAbsolute):
            top = upwards.firstIndex { isAbsolute ? $0 == path : $0.ends(with: path) }
        case .systemd(let unit):
            top = upwards.firstIndex { $0.names.last == Array(unit.utf8) }
        }
        guard let top else { return [] }
        let levels = upwards[...top]
        guard let own, levels.contains(where: { $0.contains(own) }) else { return Array(levels) }
        return []
    }
}
