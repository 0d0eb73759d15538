import CLinux
import Glibc
import Platform
import RuntimeState

/// The `command` source of the master key: a program of root's that prints it.
///
/// It gets a fixed environment and nothing on standard input; what it says on standard error goes nowhere, since that
/// could be the key too.
struct KeyProgram {
    /// The program's absolute path, and its arguments.
    let command: [String]
    /// How long it may take, in seconds.
    let timeout: Int

    /// All that it finds; what our own programs have besides is for them alone.
    private static let environment = ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"]

    /// The most that it may print, in bytes.
    private static let outputLimit = 4096

    /// Runs it and takes the key from its standard output.
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

    /// How an operator sees what it does here: most of what a program misses is in an environment of theirs.
    private var byHand: String {
        let arguments = command.count > 1 ? " ..." : ""
        return "as it is run here, without HOME and the like: "
            + "env -i \(Self.environment.joined(separator: " ")) \(command[0])\(arguments) </dev/null"
    }

    private func tooSlow(_ what: String) -> Failure {
        Failure(what, because: "it did not end within \(timeout) s", hint: "raise key.timeout, or run it \(byHand)")
    }

    /// Why the end of its output did not come.
    ///
    /// A process that it has left behind, such as an agent, may have its standard output still.
    private func endless(_ child: borrowing ChildProcess, _ what: String) throws(Failure) -> Failure {
        guard try !child.reference.isAlive() else { return tooSlow(what) }
        return Failure(
            what,
            because: "it has ended, but a process that it started keeps its standard output open",
            hint: "give that process another one: >/dev/null"
        )
    }
}
