import Platform

/// The properties of a unit that say what it is and which devices it allows. org.freedesktop.systemd1(5)
public struct UnitProperties: Equatable, Sendable {
    /// `Id`, the unit's name.
    public var name: String
    /// `LoadState`, `loaded` for a unit that systemd knows.
    public var loadState: String
    /// `ActiveState`, such as `active`, `activating` or `failed`.
    public var activeState: String
    /// `ControlGroup`, the path of its cgroup below the root of the hierarchy; empty if it has none.
    public var controlGroup: String
    /// `DevicePolicy`: `auto`, `closed` or `strict`.
    public var devicePolicy: String
    /// `DeviceAllow`.
    public var deviceAllow: [DeviceRule]
    /// `BPFProgram`; empty before systemd 249.
    public var programs: [PinnedProgram]

    /// Creates the properties of a unit.
    public init(
        name: String,
        loadState: String = "loaded",
        activeState: String = "active",
        controlGroup: String,
        devicePolicy: String = "auto",
        deviceAllow: [DeviceRule] = [],
        programs: [PinnedProgram] = []
    ) {
        self.name = name
        self.loadState = loadState
        self.activeState = activeState
        self.controlGroup = controlGroup
        self.devicePolicy = devicePolicy
        self.deviceAllow = deviceAllow
        self.programs = programs
    }

    /// Whether systemd denies devices to the unit.
    ///
    /// With the policy `auto`, it denies nothing until there is a first rule. From then on it denies all others.
    /// systemd.resource-control(5), DevicePolicy=
    public var restrictsDevices: Bool { devicePolicy != "auto" || !deviceAllow.isEmpty }

    /// Returns whether a rule of its own allows to read and write this character device.
    ///
    /// Rules for whole groups of devices, such as `char-*`, do not count.
    public func allows(_ device: DeviceNumber) -> Bool {
        deviceAllow.contains { rule in
            rule.device == DeviceRule(device).device && rule.access.contains("r") && rule.access.contains("w")
        }
    }
}

/// An entry of DeviceAllow. systemd.resource-control(5), DeviceAllow=
public struct DeviceRule: Equatable, Sendable {
    /// The path of a device's node, or the name of a group of devices, such as `char-pts`.
    public var device: String
    /// What is allowed, some of `r`, `w` and `m`.
    public var access: String

    /// Creates an entry from both of its parts.
    public init(device: String, access: String) {
        self.device = device
        self.access = access
    }

    /// Creates the entry that allows to read and write a character device.
    ///
    /// From version 240 on, systemd takes the numbers from such a path, which need not exist.
    public init(_ device: DeviceNumber) {
        self.init(device: "/dev/char/\(device)", access: "rw")
    }
}

/// An entry of BPFProgram: a program that systemd attaches to the unit's cgroup. systemd.resource-control(5)
public struct PinnedProgram: Equatable, Sendable {
    /// What it decides about, such as `device`.
    public var type: String
    /// The path at which it is pinned in a BPF file system.
    public var path: String

    /// Creates an entry from both of its parts.
    public init(type: String, path: String) {
        self.type = type
        self.path = path
    }
}
