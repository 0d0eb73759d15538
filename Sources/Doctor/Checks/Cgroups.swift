import Platform

/// The control groups, which decide about devices.
enum CgroupChecks {
    /// The hierarchies that decide about devices.
    private struct Hierarchies {
        /// The mount point of the `devices` controller of version 1; nil if there is no such mount.
        var devices: String?
        /// The mount point of version 2; nil if it is not mounted.
        var unified: String?
        /// Whether the kernel keeps processes to the cgroups of their namespace. cgroups(7), "nsdelegate"
        var isDelegated = false
        /// This process's place in each.
        var memberships: [CgroupMembership]

        init(_ host: Host) throws(Failure) {
            func read(_ path: String) throws(Failure) -> [UInt8] {
                if let text = try host.bytes(path) { return text }
                throw Failure("cannot read \(path)", because: "it is missing")
            }
            memberships = try CgroupMembership.parse(read("/proc/self/cgroup"), path: "/proc/self/cgroup")
            for mount in try MountInfo.parse(read("/proc/self/mountinfo"), path: "/proc/self/mountinfo") {
                if mount.type == "cgroup2" {
                    unified = unified ?? mount.mountPoint
                    isDelegated = isDelegated || mount.options.contains("nsdelegate")
                }
                if mount.type == "cgroup", mount.options.contains("devices") { devices = devices ?? mount.mountPoint }
            }
        }
    }

    /// The versions of control groups, and which of them decides about devices.
    static func versions(_ host: Host) throws(Failure) -> Finding {
        let found = try Hierarchies(host)
        let legacy = found.memberships.first { $0.controllers.contains("devices") }
        let unified = found.memberships.first { $0.isUnified }
        for membership in [legacy, unified].compactMap({ $0 }) where membership.path.starts(with: "/..".utf8) {
            return .refusal(
                "this process is outside of its own control group namespace",
                remedy: "start the engine in the host's control group namespace"
            )
        }
        if legacy != nil, found.devices == nil {
            return .refusal(
                "the devices controller of version 1 is in use, and not mounted",
                remedy: "mount -t cgroup -o devices devices /sys/fs/cgroup/devices"
            )
        }
        if let unified, unified.path != Array("/".utf8), found.unified == nil {
            return .refusal(
                "version 2 is in use, and not mounted",
                remedy: "mount -t cgroup2 cgroup2 /sys/fs/cgroup"
            )
        }
        switch (found.devices, found.unified) {
        case (nil, nil):
            return .problem(
                "no control groups are mounted, so that every container may use every device",
                remedy: "mount -t cgroup2 cgroup2 /sys/fs/cgroup"
            )
        case (let devices?, nil): return .ok("version 1, devices at \(devices)")
        case (nil, let unified?):
            return found.isDelegated
                ? .ok("version 2 at \(unified)")
                : .note(
                    "version 2 at \(unified) without nsdelegate, a second barrier for shared PID namespaces",
                    remedy: "mount -o remount,nsdelegate \(unified)"
                )
        case (let devices?, let unified?):
            return .ok("version 1 at \(devices) for devices, and version 2 at \(unified)")
        }
    }

    /// Whether the kernel shows device programs as they were loaded.
    static func hardening(_ host: Host) throws(Failure) -> Finding {
        let path = "/proc/sys/net/core/bpf_jit_harden"
        guard try host.line(path) == "2" else { return .ok("BPF programs are as they were loaded") }
        let found = "net.core.bpf_jit_harden is 2: the kernel hides the device programs that the hook has to extend"
        guard try Hierarchies(host).unified != nil else {
            return .note("\(found); here version 1 of control groups decides about devices")
        }
        return .refusal(found, remedy: "sysctl -w net.core.bpf_jit_harden=1, and the same in /etc/sysctl.d")
    }
}
