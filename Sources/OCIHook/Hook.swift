import Configuration
import Crypto
import Glibc
import Platform
import RuntimeControl

/// The program `vtpm-hook`, an OCI hook. runtime-spec, config.md, "POSIX-platform Hooks"
public enum Hook {
    /// The stages of a container's lifecycle that the hook supports, by their names in `config.json`.
    public enum Stage: String, CaseIterable, Sendable {
        /// runtime-spec, config.md, "CreateRuntime Hooks".
        case createRuntime
        /// The deprecated name of ``createRuntime``, for runtimes that know no other.
        case prestart
        /// runtime-spec, config.md, "Poststop".
        case poststop
    }

    /// Runs a stage with the container's state from standard input, a ``GrantVerb``, a ``Preparation`` or a
    /// ``CommandCreation``.
    ///
    /// The arguments are the stage's name and, optionally, `--config` and a path; or the verb and the names of leases; or
    /// `prepare VERB ID BUNDLE`; or `run` and, optionally, a state's ID.
    /// Errors about the state and those of the stage have been logged when this throws; errors from before are not.
    public static func run(_ arguments: [String]) throws(Failure) {
        var setting = HookSetting()
        let notReset = try Inheritance.reset(from: .engine)
        // A process that makes a vTPM for the one which has started it has a channel as descriptor 3.
        let answers = ["prepare", "run"].contains(arguments.first)
        try Hardening.closeInheritedDescriptors(from: answers ? 4 : 3)
        try Hardening.clearEnvironment()
        CryptoLibrary.prepare()
        if let verb = arguments.first.flatMap(GrantVerb.init) { return try run(verb, arguments.dropFirst()) }
        if answers { return try answer(arguments) }
        let stage = try parse(arguments, &setting)
        Log.open("vtpm-hook", reconnects: false)
        try Hardening.protectMemory()
        try requireRoot()
        let input = Descriptor(owning: STDIN_FILENO)
        let state: ContainerState
        let failed = stage == .poststop ? LogEvent.error : .refused
        do {
            let json = try ContainerState.read(input)
            // The ID is read on its own, so that an error about any other member is logged with it.
            Log.subject.container = ContainerState.identifier(in: json)
            state = try ContainerState(parsing: json)
        } catch {
            Log.error("\(error)", failed, LogDetails(reason: error.kind))
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
            Log.error("container \"\(state.id)\": \(error)", failed, LogDetails(reason: error.kind))
            throw error
        }
    }

    private static func run(_ verb: GrantVerb, _ leases: some Sequence<String>) throws(Failure) {
        Log.open("vtpm-hook", reconnects: false)
        try Hardening.protectMemory()
        try requireRoot()
        let output = Descriptor(owning: STDOUT_FILENO)
        try verb.run(leases, on: .current()) { (answer) throws(Failure) in
            try output.writeAll(Array("\(answer.line)\n".utf8), "standard output")
        }
    }

    /// Makes a vTPM for the process at the other end of descriptor 3, which gets any error too.
    private static func answer(_ arguments: [String]) throws(Failure) {
        let channel = Channel(owning: Descriptor(owning: 3), peer: "calling process")
        Log.open("vtpm-hook", reconnects: false)
        var isAnswered = false
        do throws(Failure) {
            try Hardening.protectMemory()
            if arguments.first == "run" {
                try run(arguments.dropFirst().first, isWhole: arguments.count < 3, channel)
            } else {
                try prepare(arguments, channel) { isAnswered = true }
            }
        } catch {
            let text = "container \"\(Log.subject.container ?? "")\": \(error)"
            // By then the runtime has failed by itself, or the hook of this creation has logged why it refuses the container.
            guard !isAnswered else {
                Log.notice(text)
                throw error
            }
            Log.error(text, .refused, LogDetails(reason: error.kind))
            try? channel.send(PreparationReply.failure(error))
            throw error
        }
    }

    private static func prepare(
        _ arguments: [String],
        _ channel: Channel,
        whenPrepared: () -> Void
    ) throws(Failure) {
        guard arguments.count == 4, let verb = PreparationVerb(rawValue: arguments[1]) else {
            throw Failure("cannot prepare a TPM", because: "the arguments are not VERB ID BUNDLE")
        }
        Log.subject.container = arguments[2]
        try requireRoot()
        let paths = try HostPaths.current()
        try Preparation(verb: verb, id: arguments[2], bundlePath: arguments[3], hostPaths: paths)
            .run(channel, whenPrepared: whenPrepared)
    }

    private static func run(_ stateID: String?, isWhole: Bool, _ channel: Channel) throws(Failure) {
        guard isWhole else { throw Failure("cannot make a TPM", because: "the arguments are not STATE alone") }
        try requireRoot()
        try CommandCreation(stateID: stateID, hostPaths: .current()).run(channel)
    }

    private static func requireRoot() throws(Failure) {
        guard geteuid() == 0 else { throw Failure("cannot run the hook", because: "it needs root") }
    }

    /// Returns the stage, and stores the values of the options after it in the setting.
    private static func parse(_ arguments: [String], _ setting: inout HookSetting) throws(Failure) -> Stage {
        var rest = arguments.dropFirst()
        var isUnderstood = true
        while let option = rest.popFirst(), isUnderstood {
            switch (option, rest.popFirst()) {
            case ("--config", let path?): setting.configurationPath = path
            case (PreparedName.option, let text?):
                setting.prepared = PreparedName(text)
                isUnderstood = setting.prepared != nil
            default: isUnderstood = false
            }
        }
        if isUnderstood, let stage = arguments.first.flatMap({ Stage(rawValue: $0) }) { return stage }
        let stages = Stage.allCases.map(\.rawValue).joined(separator: ", ")
        throw Failure(
            "cannot run the hook",
            because: "\"\(arguments.joined(separator: " "))\" is no stage",
            hint: "one of \(stages), and --config FILE after it"
        )
    }
}

/// The settings that the engine's configuration gives to the hook; create it before the environment is cleared.
public struct HookSetting: Sendable {
    /// The path after `--config`; nil for the standard file, which may be missing.
    var configurationPath: String?
    /// The vTPM that was prepared for the container, by `--prepared` of `config.json`; nil if the hook makes one.
    var prepared: PreparedName?
    /// systemd's `$CREDENTIALS_DIRECTORY`; nil if the engine does not pass it on to hooks. systemd.exec(5),
    /// "Credentials"
    let credentialsDirectory = getenv("CREDENTIALS_DIRECTORY").map { String(cString: $0) }

    func loadConfiguration() throws(Failure) -> Configuration {
        guard let configurationPath else { return try .load() }
        return try .load(path: configurationPath, mayBeMissing: false)
    }
}
