import CLinux
import Glibc
import Platform
import Testing

/// The real hook program in its poststop stage, which changes nothing for a container that has no lease.
final class HookUnderTest {
    let program: RunningProgram
    private var input: Descriptor?
    private let errors: Descriptor
    private let temporary: TemporaryDirectory

    /// Starts it through another program, with pipes at its standard input and error.
    ///
    /// `redirection` is the shell's, after the pipes. A record is a file for the starter, named by $RECORD.
    init(
        through starter: [String] = [],
        in temporary: TemporaryDirectory,
        redirection: String = "",
        record: String? = nil
    ) throws {
        self.temporary = temporary
        var ends: [CInt] = [-1, -1]
        try #require(pipe2(&ends, O_CLOEXEC) == 0)
        let reading = Descriptor(owning: ends[0])
        input = Descriptor(owning: ends[1])
        try #require(pipe2(&ends, O_CLOEXEC) == 0)
        errors = Descriptor(owning: ends[0])
        let writing = Descriptor(owning: ends[1])
        // 3 and 4 are what the launch passes.
        let script = "exec \"$@\" <&3 2>&4 3<&- 4>&- \(redirection)"
        let command = starter + [VTPMUnderTest.program("vtpm-hook"), "poststop"]
        let environment = record.map { ["RECORD=\(temporary.path)/\($0)"] } ?? []
        var launch = ProgramLaunch(
            "/bin/sh",
            ["sh", "-c", script, "sh"] + command,
            environment: ProgramLaunch.plainEnvironment + environment
        )
        launch.passed = [reading.number, writing.number]
        program = try RunningProgram(launch)
    }

    /// Waits until it waits for its input, in poll(2) or read(2).
    func awaitReading() throws {
        let deadline = Deadline(milliseconds: 60_000)
        while true {
            let path = "/proc/\(program.process)/"
            let name = try Descriptor.open(path + "comm", .read).readAll(limit: 64, "comm")
            let place = try Descriptor.open(path + "wchan", .read).readAll(limit: 64, "wchan")
            let text = String(decoding: place, as: UTF8.self)
            let waits = ["poll_schedule_timeout", "do_sys_poll", "do_poll", "pipe_read", "anon_pipe_read"]
            if name == Array("vtpm-hook\n".utf8), waits.contains(where: text.hasPrefix) { return }
            try #require(!deadline.hasPassed, "it does not wait for its input but in \(text)")
            poll(nil, 0, 5)
        }
    }

    /// Writes its input, and closes it.
    func say(_ text: String) {
        switch input.take() {
        case .none: break
        case .some(let input): try? input.writeAll(Array(text.utf8), "the input")
        }
    }

    /// Its end, and what it has said on standard error.
    func end() throws -> (status: WaitStatus, error: String) {
        let status = try program.wait()
        var buffer = [UInt8](repeating: 0, count: 65536)
        let waiting = try wait(for: errors.number, until: Deadline(milliseconds: 0)) & CInt(POLLIN)
        let count = waiting != 0 ? read(errors.number, &buffer, buffer.count) : 0
        return (status, String(decoding: buffer.prefix(max(count, 0)), as: UTF8.self))
    }
}

/// What the hook is given in place of standard descriptors.
@Suite struct StandardDescriptorTests {
    let temporary: TemporaryDirectory

    init() throws {
        temporary = try TemporaryDirectory()
    }

    @Test func aClosedInputIsTold() throws {
        let hook = try HookUnderTest(in: temporary, redirection: "<&-")
        let (status, error) = try hook.end()
        #expect(status == .exited(1))
        #expect(error == "vtpm-hook: cannot read the container's state: standard input is empty or closed\n")
    }

    @Test func noneOfThemIsNeeded() throws {
        let hook = try HookUnderTest(in: temporary, redirection: "<&- >&- 2>&-")
        #expect(try hook.end().status == .exited(1))
    }

    @Test func anInputThatIsADirectoryIsTold() throws {
        let hook = try HookUnderTest(in: temporary, redirection: "</")
        let (status, error) = try hook.end()
        #expect(status == .exited(1))
        #expect(error == "vtpm-hook: cannot read the container's state: read: Is a directory\n")
    }

    /// Its standard error is full, and nobody reads it: the line is lost, and the hook ends all the same.
    @Test func aFullStandardErrorIsNotWaitedFor() throws {
        let hook = try HookUnderTest(
            through: [
                "/usr/bin/python3", "-c",
                """
                import fcntl, os, sys
                flags = fcntl.fcntl(2, fcntl.F_GETFL)
                fcntl.fcntl(2, fcntl.F_SETFL, flags | os.O_NONBLOCK)
                try:
                    while True: os.write(2, b"x" * 4096)
                except BlockingIOError: pass
                fcntl.fcntl(2, fcntl.F_SETFL, flags)
                os.execv(sys.argv[1], sys.argv[1:])
                """,
            ],
            in: temporary
        )
        hook.say("{")
        let (status, error) = try hook.end()
        #expect(status == .exited(1))
        #expect(error.hasPrefix("xxxx"))
    }

    /// A reader that has gone is no reason to be killed by SIGPIPE, which runtimes report as another failure.
    @Test func aStandardErrorThatNobodyHasIsNoSignal() throws {
        let hook = try HookUnderTest(
            through: [
                "/usr/bin/python3", "-c",
                """
                import os, signal, sys
                signal.signal(signal.SIGPIPE, signal.SIG_DFL)
                reading, writing = os.pipe()
                os.dup2(writing, 2)
                os.close(reading)
                os.close(writing)
                os.execv(sys.argv[1], sys.argv[1:])
                """,
            ],
            in: temporary
        )
        hook.say("{")
        #expect(try hook.end().status == .exited(1))
    }
}
