import Configuration
import Glibc
import Platform
import RuntimeControl

/// The hook program.
public enum Hook {
    /// The stages of a container's life that the hook has a part in, as the configuration names them.
    public enum Stage: String, CaseIterable, Sendable {
        /// runtime-spec, config.md, "CreateRuntime Hooks".
        case createRuntime
        /// The same under its old name, for runtimes that know no other.
        case prestart
        /// runtime-spec, config.md, "Poststop".
        case poststop
    }

    /// Does what a stage asks for, with the container's state from standard input.
    ///
    /// An error has been written to the log when this returns.
    public static func run(_ arguments: [String]) throws(Failure) {
        var setting = HookSetting()
        let notReset = try Inheritance.reset(from: .engine)
        try Hardening.closeInheritedDescriptors(from: 3)
        try Hardening.clearEnvironment()
        let stage = try parse(arguments, &setting)
        Log.open("vtpm-hook", reconnects: false)
        try Hardening.protectMemory()
        guard geteuid() == 0 else { throw Failure("cannot run the hook", because: "it needs root") }
        let input = Descriptor(owning: STDIN_FILENO)
        let state: ContainerState
        let failed = stage == .poststop ? LogEvent.error : .refused
        do {
            let json = try ContainerState.read(input)
            // Before anything else in it is looked at, which can be wrong.
            Log.subject.container = ContainerState.identifier(in: json)
            state = try ContainerState(parsing: json)
        } catch {
            Log.error("\(error)", failed)
            throw error
        }
        for failure in notReset { Log.notice("\(failure)") }
        do {
            let hostPaths = try HostPaths.current()
            switch stage {
            case .createRuntime, .prestart: try Creation(of: state, on: hostPaths, setting).run()
            case .poststop: try Removal(of: state, on: hostPaths, setting).run()
            }
        } catch {
            Log.error("container \"\(state.id)\": \(error)", failed)
            throw error
        }
    }

    /// The stage, and what the engine has set for it.
    private static func parse(_ arguments: [String], _ setting: inout HookSetting) throws(Failure) -> Stage {
        switch (arguments.first.flatMap { Stage(rawValue: $0) }, arguments.count) {
        case (let stage?, 1): return stage
        case (let stage?, 3) where arguments[1] == "--config":
            setting.configurationPath = arguments[2]
            return stage
        default:
            let stages = Stage.allCases.map(\.rawValue).joined(separator: ", ")
            throw Failure(
                "cannot run the hook",
                because: "\"\(arguments.joined(separator: " "))\" is no stage",
                hint: "one of \(stages), and --config FILE after it"
            )
        }
    }
}

/// What the engine's configuration sets for the hook; to be made before the environment is cleared.
public struct HookSetting: Sendable {
    /// The configuration file that an argument names; the standard one, which may be missing, where none does.
    var configurationPath: String?
    /// systemd's `$CREDENTIALS_DIRECTORY`, where the engine passes it on to hooks.
    let credentialsDirectory = getenv("CREDENTIALS_DIRECTORY").map { String(cString: $0) }

    func loadConfiguration() throws(Failure) -> Configuration {
        guard let configurationPath else { return try .load() }
        return try .load(path: configurationPath, mayBeMissing: false)
    }
}
