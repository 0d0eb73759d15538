import CryptoDigests
import CryptoPrimitives
import JSONText
import Platform

/// What of a `config.json` is in a statement. runtime-spec, config.md
struct ConfigDescription {
    let names: PublicNames
    let root: RootContent
    /// The members that this version knows nothing of, by their path.
    private var unknown: [(names: [String], value: JSONValue)] = []

    init(_ names: PublicNames, root: RootContent) {
        self.names = names
        self.root = root
    }

    /// Known, and left out: they name the container, or say nothing about what it may do.
    private static let leftOut = ["ociVersion", "hostname", "domainname"]

    /// Returns the members of the statement about a container with this `config.json`.
    mutating func members(of text: JSONValue) throws(Failure) -> [CanonicalJSON.Member] {
        let known = ["annotations", "hooks", "linux", "mounts", "process", "root"] + Self.leftOut
        let config = try ConfigObject(text, [], known: known)
        unknown += config.unknown
        let annotations = try config.texts("annotations")
        let isOfPod = annotations.contains {
            ["io.kubernetes.cri.container-type", "io.kubernetes.cri-o.ContainerType"].contains($0.name)
        }
        let linux = try self.linux(config)
        let process = try self.process(config, isOfPod: isOfPod)
        let hooks = try self.hooks(config)
        let mounts = try self.mounts(config)
        let root = try self.root(config)
        return [
            .init("annotations", published(annotations)), .init("hooks", hooks),
            .init("image", ImageStatement.of(annotations)),
            .init("linux", linux), .init("engineMounts", mounts.ofEngine), .init("mounts", mounts.all),
            .init("otherMembers", try others()),
            .init("process", process), .init("root", root),
        ]
    }

    /// Returns an object below another one, and takes note of its members that nothing here knows.
    mutating func object(
        _ name: String,
        in parent: ConfigObject,
        known: [String],
        leftOut: [String] = []
    ) throws(Failure) -> ConfigObject {
        let object = try parent.object(name, known: known + leftOut)
        unknown += object.unknown
        return object
    }

    /// Returns the objects of an array, and takes note of their members that nothing here knows.
    mutating func objects(
        _ name: String,
        in parent: ConfigObject,
        known: [String],
        leftOut: [String] = []
    ) throws(Failure) -> [ConfigObject] {
        let objects = try parent.objects(name, known: known + leftOut)
        for object in objects { unknown += object.unknown }
        return objects
    }

    /// The members that this version knows nothing of, with the digests of their values in canonical form.
    private func others() throws(Failure) -> CanonicalJSON {
        var members: [CanonicalJSON] = []
        for (names, value) in unknown.sortedByBytes({ $0.names.joined(separator: "\0") }) {
            let digest = try DigestAlgorithm.sha256.digest(CanonicalJSON(measured: value).bytes)
            members.append(
                .members(["digest": .string("sha256:" + Hexadecimal.encode(digest)), "path": .strings(names)])
            )
        }
        return .array(members)
    }

    private func published(_ annotations: [(name: String, text: String)]) -> CanonicalJSON {
        .array(
            annotations.sortedByBytes(\.name).map { name, text in
                .members([
                    "name": .string(name),
                    "value": PublicNames.contains(names.annotations, name) ? .string(text) : nil,
                ])
            }
        )
    }

    private mutating func root(_ config: ConfigObject) throws(Failure) -> CanonicalJSON {
        let object = try object("root", in: config, known: ["readonly"], leftOut: ["path"])
        return .members(["content": root.statement, "readonly": .bool(try object.flag("readonly"))])
    }

    /// The hooks that run in the container's namespaces; all others are programs of the host's.
    private mutating func hooks(_ config: ConfigObject) throws(Failure) -> CanonicalJSON {
        let stages = ["createContainer", "startContainer"]
        let others = ["prestart", "createRuntime", "poststart", "poststop"]
        let all = try object("hooks", in: config, known: stages, leftOut: others)
        var members: [CanonicalJSON.Member] = []
        for stage in stages {
            var hooks: [CanonicalJSON] = []
            for hook in try objects(stage, in: all, known: ["path", "args", "env"], leftOut: ["timeout"]) {
                hooks.append(
                    .members([
                        "args": .strings(try hook.strings("args")),
                        "environment": environment(try hook.strings("env"), isOfPod: false),
                        "path": try hook.string("path").map { .string($0) },
                    ])
                )
            }
            members.append(.init(stage, .array(hooks)))
        }
        return .object(members)
    }

    /// The variables in the order of their names, those with the same name in theirs.
    ///
    /// An entry without `=` is no name that is public: all of it may be a secret.
    func environment(_ entries: [String], isOfPod: Bool) -> CanonicalJSON {
        let variables = entries.map { entry in
            let parts = entry.parts(at: "=", maxSplits: 1)
            return parts.count == 2 ? (name: parts[0], value: parts[1]) : (name: "", value: "")
        }
        let leftOut = VolatileParts.areLeftOut(variables: variables.map(\.name), isOfPod: isOfPod)
        var members: [(name: String, member: CanonicalJSON)] = []
        for ((name, value), isLeftOut) in zip(variables, leftOut) {
            let isPublic = PublicNames.contains(names.environment, name)
            // What the operator has listed counts, whoever sets it.
            guard isPublic || !isLeftOut else { continue }
            members.append((name, .members(["name": .string(name), "value": isPublic ? .string(value) : nil])))
        }
        return .array(members.sortedByBytes(\.name).map(\.member))
    }
}
