import Foundation
import Glibc
import Platform
import RuntimeControl
import Testing

/// A supervisor that was started, and waits for the hook's orders.
struct EarlyStartTests {
    private let temporary: TemporaryDirectory

    init() throws {
        temporary = try TemporaryDirectory()
    }

    /// A supervisor without orders, the hook's end of its channel, and its worker.
    private struct Waiting: ~Copyable {
        let hook: Channel
        let supervisor: RunningProgram
        let worker: ProcessHandle

        init() throws {
            let pair = try Channel.pair(near: "hook", far: "supervisor")
            let path = VTPMUnderTest.program("vtpm-supervisor")
            var launch = ProgramLaunch(path, [path, VTPMUnderTest.program("vtpm-worker")])
            launch.passed = [pair.far.descriptor.number]
            let supervisor = try RunningProgram(launch)
            let worker = try ProcessHandle(try Self.child(of: supervisor.process))
            self.supervisor = supervisor
            self.hook = pair.near
            self.worker = worker
        }

        private static func child(of process: pid_t) throws -> pid_t {
            let file = "/proc/\(process)/task/\(process)/children"
            let deadline = Deadline(milliseconds: 30_000)
            while !deadline.hasPassed {
                let text = try String(contentsOfFile: file, encoding: .utf8)
                if let child = text.split(separator: " ").first.flatMap({ pid_t($0) }) { return child }
                usleep(1000)
            }
            throw Failure("cannot test", because: "the supervisor starts no worker")
        }

        func end() throws -> WaitStatus {
            try supervisor.wait(until: Deadline(milliseconds: 30_000))
        }

        func workerHasEnded() throws -> Bool {
            try wait(for: worker.descriptor.number, until: Deadline(milliseconds: 10_000)) != 0
        }
    }

    @Test func itEndsWithTheHook() throws {
        let waiting = try Waiting()
        #expect(shutdown(waiting.hook.descriptor.number, CInt(SHUT_RDWR)) == 0)
        #expect(try waiting.end() == .exited(0))
        #expect(try waiting.workerHasEnded())
    }

    @Test func itEndsWhenItIsTold() throws {
        let waiting = try Waiting()
        Glibc.kill(waiting.supervisor.process, SIGTERM)
        #expect(try waiting.end() == .exited(1))
        for kind in [HookReply.Kind.started, .failure] {
            #expect(try Self.kind(of: waiting.hook.receive(into: Channel.makeBuffer())) == kind.rawValue)
        }
        #expect(try waiting.workerHasEnded())
    }

    private static func kind(of message: consuming Message?) -> UInt8? {
        switch consume message {
        case .none: nil
        case .some(let message): message.kind
        }
    }

    /// What a worker says before it has heard anything, and then ends, is what the hook is told.
    @Test func aWorkerThatFailsFirstIsHeard() throws {
        let script = "\(temporary.path)/worker"
        let text = "#!/bin/sh\nprintf '\\7cannot confine the worker: no' >&3\n"
        try text.write(toFile: script, atomically: false, encoding: .utf8)
        chmod(script, 0o755)
        let tpm = try VTPMUnderTest(in: temporary, worker: script, ordersAfter: 1000)
        let answer = try tpm.hear()
        #expect(answer.kind == .failure)
        #expect(String(decoding: answer.body, as: UTF8.self) == "cannot confine the worker: no")
        #expect(try tpm.reap() == .exited(1))
    }

    @Test func ordersMayComeLate() throws {
        let tpm = try VTPMUnderTest(in: temporary, ordersAfter: 1000)
        try tpm.create()
        #expect(try tpm.transmit(getRandom).count > 10)
        #expect(try tpm.stop() == .exited(0))
    }
}
