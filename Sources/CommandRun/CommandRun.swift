import CLinux
import Glibc
import Platform
import RuntimeControl
import RuntimeWrapper

/// The program `vtpm-run`, to which the name `vtpmctl` leads: `vtpmctl run` is its own, and for all else it becomes
/// `vtpmctl`.
///
/// For `run` it has a vTPM made by `vtpm-hook run`, and becomes the command. So the command has this program's process ID,
/// parent, terminal, descriptors, environment, limits and signals, and its end is what the caller sees. Whatever ends it, by
/// SIGKILL too, ends the vTPM, whose supervisor watches this process as it would a container's init.
public enum CommandRun {
    /// Becomes the command, or `vtpmctl`; returns the exit code if that cannot be.
    public static func run() -> CInt {
        guard let request = RunRequest(CommandLine.arguments) else { return becomeControl() }
        let command = request.command
        let name = command.first ?? ""
        if let missing = CommandSearch.problem(name, path: getenv("PATH").map { String(cString: $0) }) {
            complain(missing)
            return exitCode(missing)
        }
        do throws(Failure) {
            try provide(request.stateID)
        } catch {
            complain(error)
            return ExitCode.refused
        }
        // Byte by byte as they were given: they need not be UTF-8.
        let first = Int(CommandLine.argc) - command.count
        let failure = become(CommandLine.unsafeArgv + first, name)
        complain(failure)
        // It was there when it was looked for, and a TPM has been made: 127 says that there was none.
        return ExitCode.notExecutable
    }

    /// The exit codes of env(1) and of engines: a command's own are all others.
    enum ExitCode {
        /// There is no TPM for the command.
        static let refused: CInt = 125
        /// The command cannot be executed.
        static let notExecutable: CInt = 126
        /// There is no such command, and no TPM was made for it.
        static let notFound: CInt = 127
    }

    static func exitCode(_ failure: Failure) -> CInt {
        failure.code == ENOENT ? ExitCode.notFound : ExitCode.notExecutable
    }

    private static let what = "cannot give the command a TPM"

    /// Gives this process a mount namespace with a TPM.
    private static func provide(_ stateID: String?) throws(Failure) {
        guard geteuid() == 0 else { throw Failure(what, because: "it needs root") }
        // The hook starts in the host's mount namespace, and makes the TPM while this process makes its own.
        let process = try PreparingProcess(["run"] + (stateID.map { [$0] } ?? []), of: "vtpm-run")
        try PrivateDev.enter()
        // If it has ended, its last words are still to be heard.
        do { try process.send(.ready) } catch let error where error.code == EPIPE || error.code == ECONNRESET {}
        try process.awaitAnswer(what) {
            if isatty(STDERR_FILENO) == 1 { StandardError.write("vtpmctl: waiting for a TPM") }
        }
        try PrivateDev.hideTPMsInSysfs()
        try PrivateDev.renewWorkingDirectory()
    }

    /// Becomes `vtpmctl`, which is beside this program, with the same arguments.
    private static func becomeControl() -> CInt {
        do throws(Failure) {
            let path = try HostPaths.current().program("vtpmctl")
            try systemCall("execv", "cannot execute \(path)") { execv(path, CommandLine.unsafeArgv) }
        } catch {
            complain(error)
        }
        return 1
    }

    /// Executes the command with this process's environment; returns why that failed. exec(3), execvp
    private static func become(
        _ arguments: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>,
        _ name: String
    ) -> Failure {
        if let path = arguments.pointee { execvp(path, arguments) }
        return Failure("cannot execute \(name.excerpt)", call: "execvp", code: errno)
    }

    /// A person reads this, or a script that has asked for `vtpmctl`.
    private static func complain(_ failure: Failure) { StandardError.write("vtpmctl: \(failure)") }
}
