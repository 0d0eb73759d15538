import CLinux
import Glibc
import Platform
import RuntimeState

/// The `command` source of the master key: a trusted program that prints the key.
///
/// It gets a fixed environment and `/dev/null` as its standard input. Its standard error is discarded, because it could
/// contain the key too.
struct KeyProgram {
    /// The program's absolute path, then its arguments.
    let command: [String]
    /// The timeout, in seconds.
    let timeout: Int

    /// The whole environment of the program, without the variables for our own programs.
    private static let environment = ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"]

    /// The output must be shorter than this, in bytes.
    private static let outputLimit = 4096

    /// Runs the program and parses the key in its standard output.
    func load() throws(Failure) -> MasterKey {
        let what = "cannot load the master key from the command \(command[0])"
        try TrustedProgram(path: command[0], what: what).check()
        var ends: [CInt] = [-1, -1]
        try systemCall("pipe2", what) { pipe2(&ends, O_CLOEXEC) }
        let input = Descriptor(owning: ends[0])
        let output = Descriptor(owning: ends[1])
        var launch = ProgramLaunch(command[0], command, environment: Self.environment)
        launch.standardOutput = output.number
        let child = try launch.start()
        _ = consume output
        let deadline = Deadline(milliseconds: timeout * 1000)
        let printed: SecretBytes
        do {
            printed = try read(input, of: child, until: deadline, what)
        } catch {
            _ = try? child.end()
            throw error
        }
        let status = try child.wait(until: deadline)
        guard status == .exited(0) else {
            if deadline.hasPassed { throw tooSlow(what) }
            throw Failure(what, because: "it ended with \(status)", hint: "run it \(byHand)")
        }
        return try KeyMaterial.parse(printed, "the master key that \(command[0]) prints")
    }

    private func read(
        _ input: borrowing Descriptor,
        of child: borrowing ChildProcess,
        until deadline: Deadline,
        _ what: String
    ) throws(Failure) -> SecretBytes {
        let printed = try SecretBytes(capacity: Self.outputLimit)
        let number = input.number
        while true {
            guard try wait(for: number, until: deadline) != 0 else { throw try endless(child, what) }
            let count = try systemCall("read", what) { printed.append { Glibc.read(number, $0.baseAddress, $0.count) } }
            if count == 0 { break }
            guard printed.count < printed.capacity else {
                throw Failure(what, because: "it prints more than \(Self.outputLimit) bytes")
            }
        }
        return printed
    }

    /// The end of a hint: the command line that runs the program with the same environment.
    ///
    /// A program that works in an operator's shell usually fails here for want of a variable.
    private var byHand: String {
        let arguments = command.count > 1 ? " ..." : ""
        return "as it is run here, without HOME and the like: "
            + "env -i \(Self.environment.joined(separator: " ")) \(command[0].shellWord)\(arguments) </dev/null"
    }

    private func tooSlow(_ what: String) -> Failure {
        Failure(what, because: "it did not end within \(timeout) s", hint: "raise key.timeout, or run it \(byHand)")
    }

    /// Returns the error if the output did not end before the timeout.
    ///
    /// A process that the program has left behind, such as an agent, may still hold its standard output open.
    private func endless(_ child: borrowing ChildProcess, _ what: String) throws(Failure) -> Failure {
        guard try !child.reference.isAlive() else { return tooSlow(what) }
        return Failure(
            what,
            because: "it has ended, but a process that it started keeps its standard output open",
            hint: "give that process another one: >/dev/null"
        )
    }
}
