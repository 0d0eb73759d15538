import JSONText
import Platform

// The process that a container runs, and what is mounted for it. runtime-spec, config.md, "Process" and "Mounts"
extension ConfigDescription {
    private static let mountMembers = ["destination", "type", "source", "options", "uidMappings", "gidMappings"]

    private static func components(_ path: String) -> [String] {
        path.parts(at: "/").filter { !$0.isEmpty && !$0.isSame(as: ".") }
    }

    private static let capabilitySets = ["ambient", "bounding", "effective", "inheritable", "permitted"]

    mutating func process(_ config: ConfigObject, isOfPod: Bool) throws(Failure) -> CanonicalJSON {
        let process = try object(
            "process",
            in: config,
            known: [
                "apparmorProfile", "args", "capabilities", "cwd", "env", "noNewPrivileges", "rlimits", "selinuxLabel",
                "user",
            ],
            // How it is scheduled, and how it is watched.
            leftOut: ["consoleSize", "execCPUAffinity", "ioPriority", "oomScoreAdj", "scheduler", "terminal"]
        )
        let capabilities = try self.capabilities(process)
        let limits = try self.limits(process)
        let user = try self.user(process)
        return .members([
            "apparmorProfile": try process.string("apparmorProfile").map { .string($0) },
            "args": .strings(try process.strings("args")),
            "capabilities": capabilities,
            "cwd": try process.string("cwd").map { .string($0) },
            "environment": environment(try process.strings("env"), isOfPod: isOfPod),
            "noNewPrivileges": .bool(try process.flag("noNewPrivileges")),
            "rlimits": limits,
            "selinuxLabel": try process.string("selinuxLabel").map { .string(VolatileParts.withoutLevel(label: $0)) },
            "user": user,
        ])
    }

    private mutating func capabilities(_ process: ConfigObject) throws(Failure) -> CanonicalJSON {
        let sets = try object("capabilities", in: process, known: Self.capabilitySets)
        var members: [CanonicalJSON.Member] = []
        for set in Self.capabilitySets { members.append(.init(set, .strings(try sets.strings(set).asSet))) }
        return .object(members)
    }

    private mutating func limits(_ process: ConfigObject) throws(Failure) -> CanonicalJSON {
        var limits: [(type: String, value: CanonicalJSON)] = []
        for limit in try objects("rlimits", in: process, known: ["type", "hard", "soft"]) {
            let type = try limit.string("type") ?? ""
            let value = CanonicalJSON.members([
                "hard": try limit.number("hard"), "soft": try limit.number("soft"), "type": .string(type),
            ])
            limits.append((type, value))
        }
        return .array(limits.sortedByBytes(\.type).map(\.value))
    }

    private mutating func user(_ process: ConfigObject) throws(Failure) -> CanonicalJSON {
        let user = try object(
            "user",
            in: process,
            known: ["uid", "gid", "umask", "additionalGids"],
            // Windows.
            leftOut: ["username"]
        )
        return .members([
            "additionalGids": user.value("additionalGids").map { CanonicalJSON(measured: $0) },
            "gid": try user.number("gid"),
            "uid": try user.number("uid"),
            "umask": try user.number("umask"),
        ])
    }

    /// The mounts in their order, in which they cover each other, and those of an engine's own files in that of their destinations.
    ///
    /// What a mount contains is not measured.
    mutating func mounts(_ config: ConfigObject) throws(Failure) -> (all: CanonicalJSON, ofEngine: CanonicalJSON) {
        var mounts: [CanonicalJSON] = []
        var ofEngine: [(destination: String, mount: CanonicalJSON)] = []
        let all = try objects("mounts", in: config, known: Self.mountMembers)
        var destinations: [[String]] = []
        for mount in all { destinations.append(Self.components(try mount.string("destination") ?? "")) }
        for (index, mount) in all.enumerated() {
            let options = try mount.strings("options")
            let source = try mount.string("source").map { VolatileParts.withoutVolatileParts(source: $0) }
            let (users, groups) = (try mappings("uidMappings", mount), try mappings("gidMappings", mount))
            let destination = try mount.string("destination") ?? ""
            let isOfEngine = VolatileParts.isInNoOrder(source: source ?? "")
            // Of what is in no order, whether a mount in the order covers it.
            let isCovered = isOfEngine && destinations[(index + 1)...].contains { destinations[index].starts(with: $0) }
            let value = CanonicalJSON.members([
                "covered": isCovered ? .bool(true) : nil,
                "destination": .string(destination),
                "gidMappings": groups,
                "options": .strings(options.map { VolatileParts.withoutVolatileParts(option: $0) }),
                "source": source.map { .string($0) },
                "type": try mount.string("type").map { .string($0) },
                "uidMappings": users,
            ])
            if isOfEngine {
                ofEngine.append((destination, value))
            } else {
                mounts.append(value)
            }
        }
        return (.array(mounts), .array(ofEngine.sortedByBytes(\.destination).map(\.mount)))
    }
}
