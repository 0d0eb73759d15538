import ArgumentParser
import Glibc
import Platform

/// `vtpmctl run`: a command on the host with a TPM of its own.
///
/// This has the text of its help and the errors of its arguments. What does it is `vtpm-run`, to which the name `vtpmctl`
/// leads, since a command must not be started from within this program's AppArmor profile.
struct RunCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "run",
        abstract: "Runs a command on this host with a TPM of its own, at /dev/tpm0 and /dev/tpmrm0.",
        usage: "vtpmctl run [--state <state> | --ephemeral] -- <command> ...",
        discussion: """
            No engine is needed. The command gets a /dev of its own, in which the host's TPMs are missing, and all else of the \
            caller's. The TPM is gone when the command's process ends; what that leaves running has none any more. The \
            exit code is the command's own, 125 if it can have no TPM, 126 if it cannot be executed, 127 if there is no such \
            command.
            """
    )

    @Option(help: "Use this state, which is made if there is none, and keep it; no container may be using it.")
    var state: [String] = []
    @Flag(help: "Make a TPM that is gone at the end, as without --state.")
    var ephemeral = false
    @Argument(parsing: .postTerminator, help: "The command and its arguments, after --.")
    var command: [String] = []

    /// The exit code for a command that was not run, as env(1) and engines have it.
    static let refused: CInt = 125

    func validate() throws {
        guard state.count <= 1 else { throw ValidationError("Give --state once.") }
        guard state.isEmpty || !ephemeral else { throw ValidationError("Give one of --state and --ephemeral.") }
        guard !command.isEmpty else { throw ValidationError("Give a command, after --.") }
    }

    func run() throws {
        complain(
            "vtpmctl: cannot run \((command.first ?? "").excerpt): this program was not called by the name in PATH "
                + "(vtpm-run, which is beside it, does that: vtpm-run run ...)"
        )
        throw ExitCode(Self.refused)
    }
}
