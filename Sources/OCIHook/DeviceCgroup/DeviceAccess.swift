import CLinux
import Glibc
import Platform
import VTPMProxy

/// The access of a container to devices, which its cgroups have to grant beside the nodes.
///
/// ``end()`` has to be called when it is no longer needed.
struct DeviceAccess {
    private let process: pid_t
    private let cgroups: Cgroups
    private let subtree: ContainerSubtree
    private let probe: DeviceAccessProbe

    /// Finds a container's cgroups, and starts the process that will try the devices out in them.
    ///
    /// The process enters them while the caller goes on, which takes as long as a TPM's start.
    ///
    /// - Parameters:
    ///   - initProcess: The container's first process. A pidfd does not keep its ID from being reused: so it is checked
    ///     again once its cgroups have been read.
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

    /// Ends the process that tries the devices out, and waits until it has left the cgroups.
    func end() { probe.end() }

    /// Refuses a container whose device cgroup cannot be changed, before anything is made for it.
    ///
    /// Whether it has to be changed is asked with nodes of the numbers that the kernel would give next, on a tmpfs that is
    /// mounted on a directory in a mount namespace of the hook's own. If the kernel gives others, ``allow(_:nodes:)``
    /// finds that out.
    ///
    /// - Parameter directory: The path of the directory.
    /// - Throws: ``Failure`` if the container could not use its TPM.
    func examine(mountingOn directory: String) throws(Failure) {
        guard case .systemd(let unit) = subtree, let next = try Registration.next() else { return }
        let nodes = try DeviceNodes.unseen(of: next, mountedOn: directory)
        let devices = [next.tpm, next.tpmrm]
        guard try isAllowed([nodes.tpm.number, nodes.tpmrm.number], Self.what(devices)) else {
            throw Self.refusal(devices, unit: unit)
        }
    }

    /// Lets the container read and write character devices, and makes sure that it can.
    ///
    /// Nothing is changed if it can already: a privileged container, or one whose configuration has the rule.
    /// A change ends with the container's cgroups; there is nothing to undo.
    ///
    /// - Parameters:
    ///   - devices: The numbers of the devices.
    ///   - nodes: Their nodes, opened with O_PATH.
    /// - Throws: ``Failure`` if the container cannot use all of them.
    func allow(_ devices: [DeviceNumber], nodes: [CInt]) throws(Failure) {
        // It leaves while the caller goes on.
        defer { probe.leave() }
        let what = Self.what(devices)
        guard try Set(DeviceAccessProbe.devices(of: nodes)) == Set(devices) else {
            throw Failure(what, because: "the nodes to try it on are of other devices")
        }
        if case .systemd(let unit) = subtree {
            if try isAllowed(nodes, what) { return }
            throw Self.refusal(devices, unit: unit)
        }
        // A program that allows the devices is left as it is, so there is no need to ask first.
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

    /// A rule in the container's configuration would do as well, but its author cannot know the numbers: the kernel hands
    /// them out while the hook runs.
    static let systemdHint = """
        use the cgroupfs driver: podman --cgroup-manager=cgroupfs, dockerd --exec-opt native.cgroupdriver=cgroupfs, \
        SystemdCgroup = false for containerd's runtime; or leave the hook out of this container's configuration
        """

    private static func what(_ devices: [DeviceNumber]) -> String {
        "cannot allow the container to use \(devices.map(\.description).joined(separator: ", "))"
    }

    /// Its DeviceAllow would have to be set first: systemd builds its program from that at each daemon-reload.
    private static func refusal(_ devices: [DeviceNumber], unit: String) -> Failure {
        Failure(
            what(devices),
            because: "its control group is systemd's unit \(unit), which this version does not support",
            hint: systemdHint
        )
    }

    private func isAllowed(_ nodes: [CInt], _ what: String) throws(Failure) -> Bool {
        let verdicts = try probe.ask(nodes)
        // Others can move processes: an answer counts only if the probe is still in the container's cgroups.
        try cgroups.check(processes: [process, probe.process])
        for case .failed(let code) in verdicts { throw Failure(what, call: "faccessat2", code: code) }
        return verdicts.allSatisfy { $0 == .allowed }
    }

    /// Returns the container's own cgroups in a hierarchy, lowest first; throws if others are in them as well.
    private func ownCgroups(in hierarchy: CgroupHierarchy) throws(Failure) -> [CgroupPath] {
        let levels = subtree.levels(from: hierarchy.leaf, hook: hierarchy.hook)
        if !levels.isEmpty { try hierarchy.check(process: process, isAloneBut: probe.process) }
        return levels
    }

    /// Version 1: a cgroup can allow only what the one above it allows, so the way is down.
    ///
    /// Documentation/admin-guide/cgroup-v1/devices.rst
    private func allowInLegacyHierarchy(_ devices: [DeviceNumber]) throws(Failure) {
        guard let hierarchy = cgroups.legacyDevices else { return }
        for cgroup in try ownCgroups(in: hierarchy).reversed() {
            let name = "\(hierarchy.name(of: cgroup))/devices.allow"
            let file = try hierarchy.open("devices.allow", of: cgroup, .beneath(O_WRONLY))
            for device in devices {
                // One rule for one write.
                do {
                    try file.writeAll(Array("c \(device) rw".utf8), name)
                } catch let error where error.code == EPERM {
                    throw error.withHint("allow c \(device) rw in the control group above it")
                }
            }
        }
    }

    /// Version 2: every program on the way up has to allow it; those above the container's own are left alone.
    ///
    /// Returns the error for the first program that could not be replaced; nil if there is none.
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

    /// The error that names the programs which deny the devices, in the container's own cgroups and those above.
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
                // A program that went away in the meantime denies nothing.
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
/// Those above belong to somebody else and are not touched: a rule there would reach other containers.
enum ContainerSubtree: Equatable, Sendable {
    /// The configuration names none: only the cgroup of the container's process is its own.
    case leaf
    /// The configuration names a cgroup by its path; the runtime chooses what a relative one starts from.
    case path(CgroupPath, isAbsolute: Bool)
    /// systemd owns the cgroup, and builds its device program again at will.
    case systemd(unit: String)

    /// Parses `linux.cgroupsPath`.
    ///
    /// `slice:prefix:name` is the form for the systemd driver: a scope `prefix-name.scope`, or a slice if the name is
    /// that of one.
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
    /// There are none if that one is not on the way up, or if the hook itself is in one of them. The root is never the
    /// container's.
    ///
    /// - Parameters:
    ///   - leaf: The cgroup of the container's process, below the mount.
    ///   - own: The cgroup of the hook, below the same mount; nil if it is not there.
    /// - Returns: The cgroups, lowest first.
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
