import CLinux
import Glibc
import Platform
import RuntimeState

/// The `command` source of the master key: a program of root's that prints it.
///
/// It gets a fixed environment and nothing on standard input; what it says on standard error goes nowhere, since that
/// could be the key too.
struct KeyCommand {
    /// The program's absolute path, and its arguments.
    let command: [String]
    /// How long it may take, in seconds.
    let timeout: Int

    /// The most that it may print, in bytes.
    private static let outputLimit = 4096

    /// Runs it and takes the key from its standard output.
    func load() throws(Failure) -> MasterKey {
        let what = "cannot load the master key from the command \(command[0])"
        try checkProgram(what)
        var ends: [CInt] = [-1, -1]
        try systemCall("pipe2", what) { pipe2(&ends, O_CLOEXEC) }
        let input = Descriptor(owning: ends[0])
        let output = Descriptor(owning: ends[1])
        var launch = ProgramLaunch(command[0], command)
        launch.standardOutput = output.number
        let child = try launch.start()
        _ = consume output
        let deadline = Deadline(milliseconds: timeout * 1000)
        let printed: SecretBytes
        do {
            printed = try read(input, until: deadline, what)
        } catch {
            child.kill()
            _ = try? child.wait()
            throw error
        }
        let status = try child.wait(until: deadline)
        guard status == .exited(0) else {
            if deadline.hasPassed { throw tooSlow(what) }
            throw Failure(what, because: "it ended with \(status)", remedy: "run it by hand")
        }
        return try KeyMaterial.parse(printed, "the master key that \(command[0]) prints")
    }

    private func read(
        _ input: borrowing Descriptor,
        until deadline: Deadline,
        _ what: String
    ) throws(Failure) -> SecretBytes {
        let printed = try SecretBytes(capacity: Self.outputLimit)
        let number = input.number
        while true {
            guard try wait(for: number, until: deadline) != 0 else { throw tooSlow(what) }
            let count = try systemCall("read", what) { printed.append { Glibc.read(number, $0.baseAddress, $0.count) } }
            if count == 0 { break }
            guard printed.count < printed.capacity else {
                throw Failure(what, because: "it prints more than \(Self.outputLimit) bytes")
            }
        }
        return printed
    }

    /// Whoever may change the program may have the key.
    private func checkProgram(_ what: String) throws(Failure) {
        let status = try Descriptor.open(command[0], OpenOptions(openPathOnly)).status(command[0])
        guard status.st_mode & S_IFMT == S_IFREG, status.st_uid == 0 || status.st_uid == geteuid(),
            status.st_mode & 0o022 == 0
        else {
            throw Failure(
                what,
                because: "another user could change the program",
                remedy: "chown root: \(command[0]) && chmod go-w \(command[0])"
            )
        }
    }

    private func tooSlow(_ what: String) -> Failure {
        Failure(what, because: "it did not end within \(timeout) s", remedy: "run it by hand, or raise key.timeout")
    }
}
