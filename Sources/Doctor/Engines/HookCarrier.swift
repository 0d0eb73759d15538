import Engines
import FoundationEssentials
import Platform

/// A hook as engines' files describe it. runtime-spec, config.md, "POSIX-platform Hooks"
struct HookEntry: Decodable, Equatable {
    let path: String
    let args: [String]?

    /// Whether it is our hook, by the name of its program.
    var isOurs: Bool { path.split(separator: "/").last == "vtpm-hook" }
    /// The stage that it is told to run; nil if it is told none.
    var stage: String? { args.flatMap { $0.count > 1 ? $0[1] : nil } }
}

/// Our hooks in one place from which an engine takes hooks: a file, or several together.
struct HookCarrier {
    /// The hooks, each with the stage that the engine runs it in.
    private var hooks: [(stage: String, hook: HookEntry)] = []

    /// Whether it has none of our hooks.
    var isEmpty: Bool { hooks.isEmpty }

    mutating func add(_ hook: HookEntry, in stage: String) {
        if hook.isOurs { hooks.append((stage, hook)) }
    }

    /// Returns what is wrong with the hooks; nil if a container gets its TPM from them, and loses it at its end.
    func flaw(_ host: Host) -> String? {
        for (stage, hook) in hooks {
            guard host.exists(hook.path) else { return "its hook \(hook.path) is not there" }
            guard let told = hook.stage else { return "its hook for \(stage) is told no stage in its args" }
            // Engines run a hook for prestart as one for createRuntime, and some the other way round.
            let isEnd = stage == "poststop"
            guard isEnd == (told == "poststop") else { return "its hook for \(stage) is told \(told) in its args" }
        }
        let stages = Set(hooks.map { $0.stage })
        if stages.isDisjoint(with: ["createRuntime", "prestart"]) { return "it has no hook for createRuntime" }
        if stages.isSuperset(of: ["createRuntime", "prestart"]) { return "it has hooks for both creating stages" }
        if !stages.contains("poststop") { return "it has no hook for poststop" }
        return nil
    }
}

/// The files of engines in JSON.
extension Host {
    /// Reads a file as JSON; returns nil if there is none.
    func json<Value: Decodable>(_ path: String, as type: Value.Type) throws(Failure) -> Value? {
        guard let content = try bytes(path) else { return nil }
        do {
            return try JSONDecoder().decode(type, from: Data(content))
        } catch {
            throw Failure("cannot read \(path)", because: "it is malformed, or not what its engine expects")
        }
    }
}

/// A file of `hooks.d`, from which podman and CRI-O take hooks. containers/common, oci-hooks(5)
private struct HooksFile: Decodable {
    let hook: HookEntry
    let stages: [String]
}

/// The directories of `hooks.d`.
struct HookDirectories {
    /// The directory that podman and CRI-O read unless they are told otherwise.
    static let standard = "/usr/share/containers/oci/hooks.d"
    /// The directories where people put such files.
    private static let usual = [standard, "/etc/containers/oci/hooks.d"]
    /// Where `make install` puts the files; nothing reads them there.
    private static let samples = "/usr/share/container-vtpm/hooks/hooks.d"

    /// The command that gives an engine our hooks.
    static let install = "install -m 0644 -D -t \(standard) \(samples)/*.json"

    /// Returns what an engine gets from the directories that it reads; nil if these have no hook of ours.
    static func finding(_ read: [String], _ host: Host) throws(Failure) -> Finding? {
        var carrier = HookCarrier()
        var unread: [String] = []
        var problems: [String] = []
        for directory in read + usual.filter({ !read.contains($0) }) {
            for file in try host.files(in: [directory], ending: ".json") {
                let content: HooksFile
                do {
                    guard let found = try host.json(file, as: HooksFile.self) else { continue }
                    content = found
                } catch {
                    // Another's file is that one's problem, unless the name is ours.
                    if file.contains("vtpm") { problems.append("\(error.what): \(error.why)") }
                    continue
                }
                guard content.hook.isOurs else { continue }
                guard read.contains(directory) else {
                    unread.append(file)
                    continue
                }
                for stage in content.stages { carrier.add(content.hook, in: stage) }
            }
        }
        if let problem = problems.first { return .problem(problem, remedy: install) }
        if !carrier.isEmpty {
            let place = read.joined(separator: ", ")
            if let flaw = carrier.flaw(host) {
                return .problem("\(place): \(flaw), and containers start without a TPM, or keep none", remedy: install)
            }
            // The engine passes a hook over that it cannot read, or whose condition does not match.
            return .note(
                "way hooks: our hooks are in \(place); it \(Way.hooks.promise)",
                remedy: "a way that fails closed: --device \(ProgramLayout.device), or a runtime: docs/engines.md"
            )
        }
        guard let first = unread.first else { return nil }
        return .problem(
            "\(first) is not read, and containers start without a TPM: only \(read.joined(separator: ", ")) is read",
            remedy: "mv \(unread.map(\.shellWord).joined(separator: " ")) \((read.last ?? standard).shellWord)/"
        )
    }
}
