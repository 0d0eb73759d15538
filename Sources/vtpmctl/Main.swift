import ArgumentParser
import Glibc
import Platform

/// `vtpmctl`: the operator's program.
@main
struct VTPMControl: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "vtpmctl",
        abstract: "Shows and manages the TPMs that containers have.",
        subcommands: [
            List.self, RunCommand.self, DoctorCommand.self, EngineCommand.self, EventsCommand.self, GrantCommand.self,
            LaunchCommand.self, LogCommand.self, MetricsCommand.self, StateCommand.self, KeyCommand.self,
            EndorsementCommand.self, AuthorityCommand.self, HostCommand.self, PoolCommand.self,
            ProofCommand.self, Version.self,
        ]
    )

    static func main() {
        // The process holds keys and states: it must not dump core, or use another configuration of libcrypto than the
        // host's.
        HostOptions.credentialsDirectory = getenv("CREDENTIALS_DIRECTORY").map { String(cString: $0) }
        do throws(Failure) {
            let notReset = try Inheritance.reset(from: .person)
            Log.open("vtpmctl")
            for failure in notReset { Log.notice("\(failure)") }
            try Hardening.protectMemory()
            for name in ["OPENSSL_CONF", "OPENSSL_CONF_INCLUDE", "OPENSSL_MODULES", "OPENSSL_ENGINES"] {
                unsetenv(name)
            }
        } catch {
            complain("vtpmctl: \(error)")
            Glibc.exit(1)
        }
        Glibc.exit(run())
    }

    /// Runs the command that the arguments name; returns the exit code.
    ///
    /// ArgumentParser's own `main` prints help with stdio, and exits with 0 even if that failed.
    private static func run() -> CInt {
        do {
            var command = try parseAsRoot()
            try command.run()
            return 0
        } catch {
            let code = exitCode(for: error)
            let message = fullMessage(for: error)
            guard code.isSuccess else {
                if !message.isEmpty { complain(message) }
                // An exit code of `run` that is not our own is the command's.
                return CommandLine.arguments.dropFirst().first == "run" ? RunCommand.refused : code.rawValue
            }
            do {
                try report("printing help") { () throws(Failure) in try Output.write(line: message) }
                return 0
            } catch {
                return ExitCode.failure.rawValue
            }
        }
    }
}

/// `vtpmctl version`: the version of this program.
struct Version: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Prints the version.")

    func run() throws {
        try report("printing the version") { () throws(Failure) in try Output.write(line: "vtpmctl \(productVersion)") }
    }
}
