import CLinux
import Glibc
import Platform
import VTPMProxy

/// The permission of a container to use devices, which it needs beside their nodes.
public struct DeviceCgroup: ~Copyable {
    private let process: pid_t
    private let groups: ControlGroups
    private let subtree: ContainerSubtree
    private let probe: AccessProbe

    /// Finds a container's cgroups, and starts the process that will try the devices out in them.
    ///
    /// That one enters them while the caller goes on, which takes as long as a TPM's start.
    ///
    /// - Parameters:
    ///   - initProcess: The container's first process. A pidfd keeps no ID from being given away: so it is looked at again
    ///     once its cgroups have been read.
    ///   - cgroupsPath: `linux.cgroupsPath` of the container's configuration.
    ///   - program: The path of the hook's program.
    /// - Throws: ``Failure`` when the cgroups cannot be found.
    public init(
        of initProcess: borrowing ProcessReference,
        cgroupsPath: String?,
        probe program: String
    ) throws(Failure) {
        let process = initProcess.process
        let subtree = try ContainerSubtree(cgroupsPath: cgroupsPath)
        let groups = try ControlGroups(of: process)
        guard try initProcess.isAlive() else {
            throw Failure("cannot find the control groups of the container", because: "the container's init ended")
        }
        let probe = try AccessProbe(program: program, in: groups)
        self.process = process
        self.subtree = subtree
        self.probe = probe
        self.groups = groups
    }

    /// Refuses a container whose device cgroup cannot be changed, before anything is made for it.
    ///
    /// Whether it has to be changed is asked with nodes of the numbers that the kernel would give next, on a tmpfs that is
    /// mounted on a directory in a mount namespace of the hook's own. Where the kernel gives others, ``allow(_:nodes:)``
    /// finds that out.
    ///
    /// - Parameter directory: The path of the directory.
    /// - Throws: ``Failure`` when the container could not use its TPM.
    public borrowing func examine(mountingOn directory: String) throws(Failure) {
        guard case .systemd(let unit) = subtree, let next = try Registration.next() else { return }
        let nodes = try DeviceNodes.unseen(of: next, mountedOn: directory)
        let devices = [next.tpm, next.tpmrm]
        guard try isAllowed([nodes.tpm.number, nodes.tpmrm.number], Self.what(devices)) else {
            throw Self.refusal(devices, unit: unit)
        }
    }

    /// Lets the container read and write character devices, and makes sure that it can.
    ///
    /// Nothing is changed where it can already: a privileged container, or one whose configuration has the rule.
    /// What is changed ends with the container's cgroups; there is nothing to undo.
    ///
    /// The nodes are of the same devices: descriptors that were opened with O_PATH. It throws when the container cannot
    /// use all of them.
    public borrowing func allow(_ devices: [DeviceNumber], nodes: [CInt]) throws(Failure) {
        defer { probe.end() }
        let what = Self.what(devices)
        guard try Set(AccessProbe.devices(of: nodes)) == Set(devices) else {
            throw Failure(what, because: "the nodes to try it on are of other devices")
        }
        if case .systemd(let unit) = subtree {
            if try isAllowed(nodes, what) { return }
            throw Self.refusal(devices, unit: unit)
        }
        // A filter that allows the devices is left as it is, so there is no need to ask first.
        let obstacles: [LocatedObstacle]
        do {
            try allowInLegacyHierarchy(groups.legacyDevices, devices)
            obstacles = try allowInUnifiedHierarchy(groups.unified, devices)
        } catch {
            guard try isAllowed(nodes, what) else { throw error }
            return
        }
        if try isAllowed(nodes, what) { return }
        if let obstacle = obstacles.first {
            throw Failure(what, because: obstacle.description, remedy: obstacle.remedy)
        }
        let denying = try Self.denyingFilters(in: groups.unified, devices)
        throw Failure(
            what,
            because: denying.isEmpty
                ? "the device cgroup denies it" : "denied by \(denying.joined(separator: " and "))",
            remedy: denying.isEmpty
                ? "devices.list of its control groups, or bpftool cgroup tree, shows what is allowed"
                : "allow \(devices.map { "c \($0) rw" }.joined(separator: " and ")) there, or end what attached it"
        )
    }

    /// A rule in the container's configuration would do as well, but its author cannot know the numbers: the kernel hands
    /// them out while the hook runs.
    static let systemdRemedy = """
        use the cgroupfs driver: podman --cgroup-manager=cgroupfs, dockerd --exec-opt native.cgroupdriver=cgroupfs, \
        SystemdCgroup = false for containerd's runtime; or leave the hook out of this container's configuration
        """

    private static func what(_ devices: [DeviceNumber]) -> String {
        "cannot allow the container to use \(devices.map(\.description).joined(separator: ", "))"
    }

    /// Its DeviceAllow would have to be set first: systemd builds its filter from that at each daemon-reload.
    private static func refusal(_ devices: [DeviceNumber], unit: String) -> Failure {
        Failure(
            what(devices),
            because: "its control group is systemd's unit \(unit), which this version does not support",
            remedy: systemdRemedy
        )
    }

    private borrowing func isAllowed(_ nodes: [CInt], _ what: String) throws(Failure) -> Bool {
        let verdicts = try probe.ask(nodes)
        // It has been there for a while, and others can move processes: what it says is said of where it is.
        try groups.check(processes: [process, probe.process])
        for case .failed(let code) in verdicts { throw Failure(what, call: "faccessat2", code: code) }
        return verdicts.allSatisfy { $0 == .allowed }
    }

    /// Version 1: a cgroup can allow what the one above it allows, so the way is down.
    ///
    /// Documentation/admin-guide/cgroup-v1/devices.rst
    private borrowing func allowInLegacyHierarchy(
        _ hierarchy: borrowing ControlGroupHierarchy?,
        _ devices: [DeviceNumber]
    ) throws(Failure) {
        switch hierarchy {
        case .none: return
        case .some(let hierarchy):
            let levels = subtree.levels(from: hierarchy.leaf, hook: hierarchy.hook)
            if !levels.isEmpty { try hierarchy.check(process: process, isAloneBut: probe.process) }
            for group in levels.reversed() {
                let name = "\(hierarchy.name(of: group))/devices.allow"
                let file = try hierarchy.open("devices.allow", of: group, .beneath(O_WRONLY))
                for device in devices {
                    // One rule for one write.
                    do {
                        try file.writeAll(Array("c \(device) rw".utf8), name)
                    } catch let error where error.code == EPERM {
                        throw error.helped(by: "allow c \(device) rw in the control group above it")
                    }
                }
            }
        }
    }

    /// Version 2: every filter on the way has to allow it; those above the container's own are left alone.
    private borrowing func allowInUnifiedHierarchy(
        _ hierarchy: borrowing ControlGroupHierarchy?,
        _ devices: [DeviceNumber]
    ) throws(Failure) -> [LocatedObstacle] {
        switch hierarchy {
        case .none: return []
        case .some(let hierarchy):
            let levels = subtree.levels(from: hierarchy.leaf, hook: hierarchy.hook)
            if !levels.isEmpty { try hierarchy.check(process: process, isAloneBut: probe.process) }
            let patch = FilterPatch(kernel: BPFPrograms(), devices: devices)
            var obstacles: [LocatedObstacle] = []
            for group in levels {
                let name = hierarchy.name(of: group)
                let directory = try hierarchy.open(group)
                obstacles += try patch.apply(to: directory.number).map { LocatedObstacle(group: name, obstacle: $0) }
            }
            return obstacles
        }
    }

    /// The filters that say no, for an error's text: of the container's own cgroups and of those above.
    private static func denyingFilters(
        in hierarchy: borrowing ControlGroupHierarchy?,
        _ devices: [DeviceNumber]
    ) throws(Failure) -> [String] {
        switch hierarchy {
        case .none: return []
        case .some(let hierarchy):
            let kernel = BPFPrograms()
            let patch = FilterPatch(kernel: kernel, devices: devices)
            var denying: [String] = []
            for group in hierarchy.leaf.upwards + [.root] {
                let directory = try hierarchy.open(group)
                for program in try kernel.filters(of: directory.number).programs {
                    // A program that went away in the meantime denies nothing.
                    guard let opened = try? kernel.open(program),
                        try !patch.allowsAll(kernel.instructions(of: opened))
                    else { continue }
                    denying.append("device filter \(program) of \(hierarchy.name(of: group))")
                }
            }
            return denying
        }
    }
}

/// A filter that could not be extended, and where it is.
private struct LocatedObstacle: CustomStringConvertible {
    let group: String
    let obstacle: Obstacle

    var description: String {
        "device filter \(obstacle.program) of \(group): \(obstacle.reason.what): \(obstacle.reason.why)"
    }

    var remedy: String? { obstacle.reason.remedy }
}
