import ArgumentParser
import Engines
import Glibc
import Platform
import RuntimeAdministration
import RuntimeControl

extension Engine: ExpressibleByArgument {}
extension Way: ExpressibleByArgument {}

/// `vtpmctl engine`: how container engines are told of this program.
struct EngineCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "engine",
        abstract: "Configures container engines, so that they give containers TPMs.",
        subcommands: [Install.self, Remove.self, Show.self]
    )

    /// How long an engine may take to print its version, in milliseconds.
    private static let programTimeout = 10_000

    /// The engines of this host.
    static func host() throws(Failure) -> EngineHost {
        EngineHost(ProgramLayout(programs: try HostPaths.current().programs)) { program in
            let folders = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"]
            let paths = folders.map { "\($0)/\(program)" }
            guard let path = paths.first(where: { access($0, X_OK) == 0 }),
                let output = try? ProgramOutput.read(path, ["--version"], limit: 1 << 16, timeout: programTimeout)
            else { return nil }
            return String(decoding: output, as: UTF8.self)
        }
    }

    /// Shows a plan and carries it out.
    static func perform(_ plan: Plan, _ installation: Installation, isDryRun: Bool) throws(Failure) {
        for change in plan.changes { try Output.write(lines: change.lines) }
        try Output.write(lines: plan.remarks)
        guard !isDryRun else { return }
        try installation.perform(plan)
    }

    /// `vtpmctl engine install`: puts our entries into an engine's configuration.
    struct Install: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Puts what gives containers TPMs into an engine's configuration.",
            discussion: """
                It prints the lines that change, and changes nothing else. No engine is restarted. docs/engines.md
                """
        )

        @Argument(help: "The engine.")
        var engine: Engine
        @Option(help: "How the engine gets to our programs; without it cdi for podman, and runtime for others.")
        var way: Way?
        @Flag(name: .customLong("default"), help: "Make ours the engine's default runtime.")
        var isDefault = false
        @Flag(name: .customLong("dry-run"), help: "Print what would change, and change nothing.")
        var isDryRun = false

        func run() throws {
            try report("changing engines' files") { () throws(Failure) in
                let host = try EngineCommand.host()
                let installation = Installation(of: engine, on: host)
                let way = way ?? engine.ways.first ?? .runtime
                if isDryRun { return try install(way, installation, host) }
                try installation.alone { () throws(Failure) in try install(way, installation, host) }
            }
        }

        private func install(_ way: Way, _ installation: Installation, _ host: EngineHost) throws(Failure) {
            let plan = try installation.installing(way, isDefault: isDefault)
            try EngineCommand.perform(plan, installation, isDryRun: isDryRun)
            let name = engine.rawValue
            if plan.changes.isEmpty {
                try Output.write(line: "\(name): nothing to change, all is there already")
            } else if let activation = engine.activation(of: way) {
                try Output.write(line: "\(name): to put it into force: \(activation)")
            }
            try Output.write(lines: [
                "\(name), way \(way.rawValue): it \(way.promise)",
                "\(name): to use it: \(engine.use(of: way, host.layout))",
            ])
        }
    }

    /// `vtpmctl engine remove`: takes our entries out of an engine's configuration.
    struct Remove: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Takes out of an engine's configuration what install has put there.",
            discussion: "A file that nobody has changed since is as it was before, byte for byte."
        )

        @Argument(help: "The engine.")
        var engine: Engine
        @Flag(name: .customLong("dry-run"), help: "Print what would change, and change nothing.")
        var isDryRun = false

        func run() throws {
            try report("changing engines' files") { () throws(Failure) in
                let installation = Installation(of: engine, on: try EngineCommand.host())
                if isDryRun { return try remove(installation) }
                try installation.alone { () throws(Failure) in try remove(installation) }
            }
        }

        private func remove(_ installation: Installation) throws(Failure) {
            let plan = try installation.removing()
            try EngineCommand.perform(plan, installation, isDryRun: isDryRun)
            if plan.changes.isEmpty { return try Output.write(line: "\(engine.rawValue): nothing to change") }
            guard let activation = engine.activation(of: plan.formerWay ?? .cdi) else { return }
            try Output.write(line: "\(engine.rawValue): to put it into force: \(activation)")
        }
    }

    /// `vtpmctl engine show`: which engines are configured, and how.
    struct Show: ParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Shows how engines are configured.")

        @Argument(help: "The engine; all of them without it.")
        var engine: Engine?
        @Flag(help: "Print a JSON array, one object for each way that is configured.")
        var json = false

        func run() throws {
            try report("reading engines' files") { () throws(Failure) in
                let host = try EngineCommand.host()
                var all: [EngineStatus] = []
                for engine in engine.map({ [$0] }) ?? Engine.allCases {
                    all += try Installation(of: engine, on: host).status()
                }
                try json ? Output.write(json: all) : write(all)
            }
        }

        private func write(_ all: [EngineStatus]) throws(Failure) {
            for status in all {
                let presence = status.isInstalled ? "" : " (not installed)"
                let force = status.way == nil ? "" : status.isInForce ? ", configured" : ", configured, NOT in force"
                let way = status.way.map { ", way \($0)" } ?? ""
                try Output.write(
                    lines: ["\(status.engine)\(presence)\(way)\(force)"]
                        + (status.files + status.remarks).map { "  \($0)" }
                )
            }
        }
    }
}
