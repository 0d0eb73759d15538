import Glibc
import Platform
import Systemd

/// A unit of systemd's that holds one container.
struct ContainerUnit {
    let properties: UnitProperties
    /// Its cgroup, the topmost of the container's own.
    let controlGroup: CgroupPath

    /// Checks that a unit can be handled.
    ///
    /// - Parameters:
    ///   - name: The unit's name, from the container's configuration.
    ///   - properties: Its properties; nil if systemd has no such unit.
    ///   - leaves: The cgroups of the container's process, one for each hierarchy that decides about devices.
    /// - Throws: ``Failure`` if the container's process is not in the unit, or the unit is not one that holds a single
    ///   container.
    init(_ name: String, _ properties: UnitProperties?, leaves: [CgroupPath]) throws(Failure) {
        let what = Self.what(name)
        guard name.hasSuffix(".scope") else {
            throw Failure(what, because: "it is no scope, so that others can be in it", hint: Self.pathHint)
        }
        guard let properties else {
            throw Failure(what, because: "systemd has no such unit", hint: Self.driverHint)
        }
        guard properties.name == name, properties.loadState == "loaded", properties.activeState == "active" else {
            let (load, state) = (properties.loadState.excerpt, properties.activeState.excerpt)
            throw Failure(
                what,
                because: "it is \(load) and \(state)",
                hint: "systemctl status \(name.shellWord) may say why"
            )
        }
        guard let controlGroup = CgroupPath(properties.controlGroup.utf8), controlGroup != .root,
            leaves.contains(where: controlGroup.contains)
        else {
            let places = leaves.map(\.description).joined(separator: " and ")
            throw Failure(
                what,
                because: "the container is in \(places), and the unit is \(properties.controlGroup.excerpt)",
                hint: Self.driverHint
            )
        }
        self.properties = properties
        self.controlGroup = controlGroup
    }

    /// The container's own cgroups.
    var subtree: ContainerSubtree { .path(controlGroup, isAbsolute: true) }

    static func what(_ name: String) -> String { "cannot use systemd's unit \(name)" }

    /// The hint if the configuration names a unit, and the container is not in it.
    static let driverHint = """
        linux.cgroupsPath in the form slice:prefix:name is for the runtime's systemd driver (runc --systemd-cgroup); use \
        that or a path
        """

    private static let pathHint = "give the container a scope of its own in linux.cgroupsPath"
}

extension DeviceAccess {
    /// Returns the cgroups that are the container's own, after asking systemd about those of a unit.
    func ownSubtree() throws(Failure) -> ContainerSubtree {
        guard case .systemd(let name) = subtree else { return subtree }
        return try unit(name).subtree
    }

    /// Asks systemd for the container's unit, and checks that it can be handled.
    func unit(_ name: String) throws(Failure) -> ContainerUnit {
        guard let systemd else {
            let what = ContainerUnit.what(name)
            throw Failure(what, because: "this host does not run systemd", hint: ContainerUnit.driverHint)
        }
        return try ContainerUnit(name, try systemd.unit(name), leaves: cgroups.all.map(\.leaf))
    }

    /// Has systemd allow devices in the container's unit, if it denies any there.
    ///
    /// systemd builds its program from the unit's properties again whenever it realizes the unit's cgroup after a
    /// daemon-reload. A program that was only replaced would be lost then.
    ///
    /// - Returns: The container's own cgroups, in which the programs of others can still deny the devices.
    func allow(_ devices: [DeviceNumber], in unit: ContainerUnit) throws(Failure) -> ContainerSubtree {
        for hierarchy in cgroups.all where stage == .creation {
            do {
                try hierarchy.check(process: process, isAloneBut: probe.process, in: unit.controlGroup)
            } catch let error where error.code == ENOENT && !unit.controlGroup.contains(hierarchy.leaf) {
                // The unit has no cgroup in this hierarchy.
            }
        }
        // Where systemd denies nothing, a first rule would have it deny all other devices.
        if unit.properties.restrictsDevices { try systemd?.allow(devices, in: unit.properties.name) }
        if let hierarchy = cgroups.unified, unit.controlGroup.contains(hierarchy.leaf) {
            let directory = try hierarchy.open(unit.controlGroup)
            let patcher = DeviceProgramPatcher(kernel: KernelBPF(), devices: devices)
            for program in unit.properties.programs where program.type == "device" {
                try PinnedDeviceProgram(path: program.path).apply(patcher, to: directory.number)
            }
        }
        return unit.subtree
    }
}
