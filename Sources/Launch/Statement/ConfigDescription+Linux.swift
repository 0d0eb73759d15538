import CryptoDigests
import CryptoPrimitives
import JSONText
import Platform

// How a container is kept apart from the host. runtime-spec, config-linux.md
extension ConfigDescription {
    private static let extents = ["containerID", "hostID", "size"]

    mutating func linux(_ config: ConfigObject) throws(Failure) -> CanonicalJSON {
        let linux = try object(
            "linux",
            in: config,
            known: [
                "devices", "gidMappings", "maskedPaths", "namespaces", "netDevices", "personality", "readonlyPaths",
                "resources",
                "rootfsPropagation", "seccomp", "sysctl", "timeOffsets", "uidMappings",
            ],
            // Names of the container, and shares of the host.
            leftOut: ["cgroupsPath", "intelRdt", "memoryPolicy", "mountLabel"]
        )
        let devices = try self.devices(linux)
        let rules = try self.deviceRules(linux)
        let namespaces = try self.namespaces(linux)
        let (users, groups) = (try mappings("uidMappings", linux), try mappings("gidMappings", linux))
        return .members([
            "deviceRules": rules,
            "devices": devices,
            "gidMappings": groups,
            "maskedPaths": .strings(try linux.strings("maskedPaths").asSet),
            "namespaces": namespaces,
            "netDevices": linux.value("netDevices").map { CanonicalJSON(measured: $0) },
            "personality": linux.value("personality").map { CanonicalJSON(measured: $0) },
            "readonlyPaths": .strings(try linux.strings("readonlyPaths").asSet),
            "rootfsPropagation": try linux.string("rootfsPropagation").map { .string($0) },
            "seccomp": try seccomp(linux),
            "sysctl": linux.value("sysctl").map { CanonicalJSON(measured: $0) },
            "timeOffsets": linux.value("timeOffsets").map { CanonicalJSON(measured: $0) },
            "uidMappings": users,
        ])
    }

    private mutating func namespaces(_ linux: ConfigObject) throws(Failure) -> CanonicalJSON {
        var namespaces: [(type: String, value: CanonicalJSON)] = []
        for namespace in try objects("namespaces", in: linux, known: ["type", "path"]) {
            let type = try namespace.string("type") ?? ""
            var joined: CanonicalJSON?
            // Which process or file it is named by differs between containers; whether it is the host's does not.
            if let path = try namespace.string("path"), !path.isEmpty {
                joined = .string(try HostNamespaces.contain(path, type: type) ? "host" : "other")
            }
            let value = CanonicalJSON.members(["joined": joined, "type": .string(type)])
            namespaces.append((type, value))
        }
        return .array(namespaces.sortedByBytes(\.type).map(\.value))
    }

    /// The IDs that a user namespace has.
    ///
    /// Which of the host's they are differs between containers, but for the host's root.
    mutating func mappings(_ name: String, _ linux: ConfigObject) throws(Failure) -> CanonicalJSON? {
        guard linux.value(name) != nil else { return nil }
        var mappings: [CanonicalJSON] = []
        for extent in try objects(name, in: linux, known: Self.extents) {
            mappings.append(
                .members([
                    "container": try extent.number("containerID"),
                    "hostRoot": .bool(try extent.isZero("hostID")),
                    "size": try extent.number("size"),
                ])
            )
        }
        return .array(mappings)
    }

    private mutating func devices(_ linux: ConfigObject) throws(Failure) -> CanonicalJSON {
        var devices: [CanonicalJSON] = []
        for device in try objects(
            "devices",
            in: linux,
            known: ["type", "path", "major", "minor", "fileMode", "uid", "gid"]
        ) {
            devices.append(
                .members([
                    "fileMode": try device.number("fileMode"),
                    "gid": try device.number("gid"),
                    "major": try device.number("major"),
                    "minor": try device.number("minor"),
                    "path": try device.string("path").map { .string($0) },
                    "type": try device.string("type").map { .string($0) },
                    "uid": try device.number("uid"),
                ])
            )
        }
        return .array(devices)
    }

    /// The rules of the device cgroup, in their order; how much of the host a container may use is not what it runs.
    private mutating func deviceRules(_ linux: ConfigObject) throws(Failure) -> CanonicalJSON {
        let resources = try object(
            "resources",
            in: linux,
            known: [
                "blockIO", "cpu", "devices", "hugepageLimits", "memory", "network", "pids", "rdma", "unified",
            ]
        )
        var rules: [CanonicalJSON] = []
        for rule in try objects("devices", in: resources, known: ["allow", "type", "major", "minor", "access"]) {
            rules.append(
                .members([
                    "access": try rule.string("access").map { .string($0) },
                    "allow": .bool(try rule.flag("allow")),
                    "major": try rule.number("major"),
                    "minor": try rule.number("minor"),
                    "type": try rule.string("type").map { .string($0) },
                ])
            )
        }
        return .array(rules)
    }

    /// The filter of system calls by its digest: it can be larger than all the rest.
    private func seccomp(_ linux: ConfigObject) throws(Failure) -> CanonicalJSON {
        guard let filter = linux.value("seccomp") else { return .string("none") }
        let known = [
            "architectures", "defaultAction", "defaultErrnoRet", "flags", "listenerMetadata", "listenerPath",
            "syscalls",
        ]
        let object = try ConfigObject(filter, ["linux", "seccomp"], known: known)
        let digest = try DigestAlgorithm.sha256.digest(CanonicalJSON(measured: filter).bytes)
        return .members([
            "defaultAction": try object.string("defaultAction").map { .string($0) },
            "digest": .string("sha256:" + Hexadecimal.encode(digest)),
        ])
    }
}
