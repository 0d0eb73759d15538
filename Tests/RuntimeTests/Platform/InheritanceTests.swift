import CLinux
import Glibc
import Platform
import RuntimeControl
import Testing

/// The real programs, started with everything bad that can be inherited.
@Suite(.serialized) struct InheritanceTests {
    let temporary: TemporaryDirectory

    init() throws {
        temporary = try TemporaryDirectory()
    }

    /// What holds for each of the programs; those that limit themselves have lower limits.
    private func expectReset(_ inherited: Inherited, ownLimits: Set<String> = []) throws {
        let raised = [
            "Max file size", "Max cpu time", "Max data size", "Max address space", "Max processes", "Max locked memory",
            "Max msgqueue size", "Max pending signals", "Max realtime timeout",
        ]
        for name in raised where !ownLimits.contains(name) {
            let limit = try inherited.limit(name)
            #expect(limit.count == 2 && limit.first == limit.last, "\(name): \(limit)")
        }
        if !ownLimits.contains("Max open files") { #expect(try inherited.limit("Max open files").first == "1024") }
        #expect(try inherited.limit("Max stack size").first == "8388608")
        #expect(try inherited.umask() == "0077")
        #expect(try inherited.nice() == "0")
        #expect(try inherited.policy() == "0")
        #expect(try inherited.personality() == "00000000")
        #expect(try inherited.timerSlack() == "50000")
        #expect(![1, 3].contains(inherited.inputOutputClass()))
    }

    /// The bits of signals, as in `/proc/PID/status`.
    private func mask(_ signals: CInt...) -> UInt64 { signals.reduce(0) { $0 | 1 << UInt64($1 - 1) } }

    @Test func supervisorAndWorkerDoTheirWork() throws {
        let tpm = try VTPMUnderTest(in: temporary, starter: BadStarter.command)
        try tpm.create()
        let supervisor = Inherited(process: tpm.supervisor.process)
        try expectReset(supervisor)
        #expect(try supervisor.signals("SigIgn") == mask(SIGHUP, SIGINT, SIGPIPE, SIGXFSZ))
        #expect(try supervisor.signals("SigBlk") == mask(SIGTERM))
        #expect(try supervisor.limit("Max core file size").first == "0")
        #expect(try supervisor.link("cwd") == "/")
        let worker = Inherited(process: tpm.worker)
        try expectReset(
            worker,
            ownLimits: [
                "Max file size", "Max data size", "Max address space", "Max processes", "Max locked memory",
                "Max msgqueue size", "Max open files",
            ]
        )
        #expect(try worker.signals("SigIgn") == mask(SIGPIPE, SIGXFSZ))
        #expect(try worker.signals("SigBlk") == 0)
        #expect(try worker.standardDescriptors() == ["/dev/null", "/dev/null", "/dev/null"])

        let answer = try tpm.transmit(WorkerTests.defineSpace(1))
        #expect(answer.prefix(10).suffix(4).elementsEqual([0, 0, 0, 0]))
        #expect(try tpm.stop() == .exited(0))
        try VTPMUnderTest(in: temporary).create()
    }

    private static let advice = "File too large (raise RLIMIT_FSIZE: ulimit -f, or LimitFSIZE= of the engine's service)"

    /// A limit that cannot be raised is an error that is told, and no end by a signal.
    @Test func aFileThatMayNotBeMadeIsAnError() throws {
        let script = """
            import os, resource, sys
            resource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1024))
            os.execv(sys.argv[1], sys.argv[1:])
            """
        let tpm = try VTPMUnderTest(in: temporary, starter: ["/usr/bin/python3", "-c", script])
        let answer = try tpm.hear()
        #expect(answer.kind == .failure)
        let text = String(decoding: answer.body, as: UTF8.self)
        #expect(text.hasPrefix("cannot write ") && text.hasSuffix(": write: \(Self.advice)"), "\(text)")
        #expect(try tpm.reap() == .exited(1))
        #expect(!temporary.exists("states/web/state") && !temporary.exists("states/web/state.new"))
        #expect(!temporary.exists("index/index.new"))
    }

    /// Nor is it the end of a supervisor that has served for months.
    @Test func aFileThatMayNotGrowIsAnError() throws {
        let tpm = try VTPMUnderTest(in: temporary)
        try tpm.create()
        let arguments = ["prlimit", "--pid", "\(tpm.supervisor.process)", "--fsize=1024"]
        #expect(try ProgramLaunch("/usr/bin/prlimit", arguments).start().wait() == .exited(0))
        #expect(try tpm.transmit(WorkerTests.defineSpace(1)) == failureResponse)
        let status = try tpm.status()
        #expect(status.health == .failed)
        #expect(status.reason.hasPrefix("cannot write \(temporary.path)/states/web/"), "\(status.reason)")
        #expect(status.reason.hasSuffix(": pwrite: \(Self.advice)"), "\(status.reason)")
        #expect(!temporary.exists("states/web/state.new"))
        #expect(try tpm.stop() == .exited(0))
    }

    /// The hook waits for its container's state, when it has reset all.
    @Test func theHookResetsAll() throws {
        let hook = try HookUnderTest(through: BadStarter.command, in: temporary)
        let inherited = Inherited(process: hook.program.process)
        try hook.awaitReading()
        try expectReset(inherited)
        #expect(try inherited.signals("SigIgn") == mask(SIGPIPE, SIGXFSZ))
        #expect(try inherited.signals("SigBlk") == 0)
        #expect(try inherited.link("cwd") == "/")
        hook.say(#"{"id":"nobody","bundle":"/nowhere"}"#)
        #expect(try hook.end().status == .exited(0))
    }

    /// One that fires while signals are blocked does not go on by itself once it is ignored: this one fires later.
    @Test func aTimerIsStopped() throws {
        let script = """
            import os, signal, sys
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
            signal.setitimer(signal.ITIMER_REAL, 2, 0.2)
            os.execv(sys.argv[1], sys.argv[1:])
            """
        let hook = try HookUnderTest(through: ["/usr/bin/python3", "-c", script], in: temporary)
        let program = try ProcessHandle(hook.program.process)
        try hook.awaitReading()
        let end = try wait(for: program.descriptor.number, until: Deadline(milliseconds: 2500))
        try #require(end == 0, "it was killed")
        hook.say(#"{"id":"nobody","bundle":"/nowhere"}"#)
        #expect(try hook.end().status == .exited(0))
    }

    /// A thread of the runtime's that ends must not take the hook with it.
    @Test func theHookOutlivesItsParent() throws {
        let script = """
            import ctypes, os, signal, sys, time
            ready, go = os.pipe()
            child = os.fork()
            if child == 0:
                ctypes.CDLL(None).prctl(1, signal.SIGKILL)
                os.set_inheritable(go, False)
                os.execv(sys.argv[1], sys.argv[1:])
            open(os.environ["RECORD"], "w").write(str(child))
            while os.readlink(f"/proc/{child}/cwd") != "/": time.sleep(0.01)
            """
        let hook = try HookUnderTest(through: ["/usr/bin/python3", "-c", script], in: temporary, record: "child")
        // The starter has ended when the hook has reset what it has.
        #expect(try hook.program.wait() == .exited(0))
        let process = try #require(pid_t(String(decoding: try temporary.read("child"), as: UTF8.self)))
        let child = try ProcessHandle(process)
        #expect(try child.isAlive())
        hook.say(#"{"id":"nobody","bundle":"/nowhere"}"#)
        #expect(try wait(for: child.descriptor.number, until: Deadline(milliseconds: 60_000)) != 0)
    }
}
