import Glibc
import Platform
import RuntimeControl
import TestSupport
import Testing

/// What a TPM does by itself while nobody has a command for it, and what others see of that.
@Suite(.serialized) struct SelfTestTests {
    static let selfTest: [UInt8] = [0x80, 0x01, 0, 0, 0, 11, 0, 0, 0x01, 0x43, 0]
    static let fullTest: [UInt8] = [0x80, 0x01, 0, 0, 0, 11, 0, 0, 0x01, 0x43, 1]
    static let getTestResult: [UInt8] = [0x80, 0x01, 0, 0, 0, 10, 0, 0, 0x01, 0x7c]
    static let shutdown: [UInt8] = [0x80, 0x01, 0, 0, 0, 12, 0, 0, 0x01, 0x45, 0, 0]
    static let readPCRs: [UInt8] = [0x80, 0x01, 0, 0, 0, 20, 0, 0, 0x01, 0x7e, 0, 0, 0, 1, 0, 0x0b, 3, 0x81, 0, 0]
    static let success: [UInt8] = [0x80, 0x01, 0, 0, 0, 10, 0, 0, 0, 0]
    static let testing: [UInt8] = [0x80, 0x01, 0, 0, 0, 10, 0, 0, 0x09, 0x0a]

    /// A response to TPM2_GetTestResult with this result, and no data.
    static func testResult(_ high: UInt8, _ low: UInt8) -> [UInt8] {
        [0x80, 0x01, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, high, low]
    }

    /// A command that libtpms has executed; of a test of one algorithm, the algorithm.
    struct Executed: Equatable, CustomStringConvertible {
        var code: UInt16
        var algorithm: UInt16 = 0

        var isTest: Bool { algorithm != 0 }
        var description: String { String(code, radix: 16) + (isTest ? ":" + String(algorithm, radix: 16) : "") }
        static func command(_ code: UInt16) -> Executed { Executed(code: code) }
        static func test(_ algorithm: UInt16) -> Executed { Executed(code: 0x142, algorithm: algorithm) }
    }

    /// A TPM that tells what it has executed, with its kernel's registration done.
    func start(
        _ arguments: String...,
        state: [UInt8]? = nil,
        registered: Bool = true
    ) throws -> WorkerUnderTest {
        let tpm = try WorkerUnderTest("ObservedLibrary", arguments, state: state)
        try tpm.serve()
        if registered { try tpm.channel.send(WorkerRequest.registered(selfTestAfter: 100)) }
        return tpm
    }

    /// What it has executed since its start, but for the question what is left to be tested.
    func record(of tpm: WorkerUnderTest) throws -> [Executed] {
        try recordWithQuestions(of: tpm).filter { $0.code != 0x142 || $0.isTest }
    }

    func recordWithQuestions(of tpm: WorkerUnderTest) throws -> [Executed] {
        var reader = ByteReader(try tpm.transmit([0x80, 0x01, 0, 0, 0, 12, 0, 0, 0x01, 0x7b, 0xb0, 0]))
        _ = reader.read(count: 10)
        var record: [Executed] = []
        while let code = reader.read(UInt16.self), let algorithm = reader.read(UInt16.self) {
            record.append(Executed(code: code, algorithm: algorithm))
        }
        return record
    }

    /// The same from the first test on.
    func recordOfTests(of tpm: WorkerUnderTest) throws -> [Executed] {
        Array(try record(of: tpm).drop { !$0.isTest })
    }

    /// Sends a command while one algorithm is tested; returns the answer.
    func transmit(_ command: [UInt8], duringTestOf tpm: WorkerUnderTest) throws -> [UInt8] {
        try #require(try wait(for: tpm.device, until: Deadline(milliseconds: 60_000)) != 0)
        try #require(tpm.answer() == [1])
        return try tpm.transmit(command)
    }

    func awaitEnd(of tpm: WorkerUnderTest) throws {
        let deadline = Deadline(milliseconds: 60_000)
        while try tpm.transmit(Self.getTestResult) != Self.testResult(0, 0) {
            try #require(!deadline.hasPassed)
            // Nothing is tested while a command waits, and the record has room for a thousand.
            poll(nil, 0, 2)
        }
    }

    // MARK: - The kernel's registration

    @Test func theKernelIsAnsweredBeforeAnythingIsTested() throws {
        let tpm = try start(registered: false)
        let before = try record(of: tpm)
        #expect(try tpm.transmit(Self.selfTest) == Self.testing)
        #expect(try tpm.transmit(Self.selfTest) == Self.testing)
        #expect(try tpm.transmit(Self.getTestResult) == Self.testResult(0x09, 0x0a))
        #expect(try record(of: tpm) == before)
        #expect(before.map(\.code) == [0x144, 0x121, 0x17a, 0x181])
        #expect(try tpm.end() == .exited(0))
    }

    /// What is no TPM2_SelfTest(NO) is libtpms' to answer, and what has nothing left to test as well.
    @Test func whatTheKernelDoesNotSendIsExecuted() throws {
        let tpm = try start(registered: false)
        #expect(try tpm.transmit([0x80, 0x01, 0, 0, 0, 10, 0, 0, 0x01, 0x43]).suffix(2) == [0x01, 0xda])
        #expect(try tpm.transmit([0x80, 0x01, 0, 0, 0, 12, 0, 0, 0x01, 0x43, 0, 0]).suffix(2) == [0x00, 0x95])
        #expect(try tpm.transmit([0x80, 0x01, 0, 0, 0, 12, 0, 0, 0x01, 0x43, 0]).suffix(2) == [0x01, 0x42])
        #expect(try tpm.transmit(Self.fullTest) == Self.success)
        #expect(try tpm.transmit(Self.selfTest) == Self.success)
        #expect(try tpm.transmit(Self.getTestResult) == Self.testResult(0, 0))
        #expect(try record(of: tpm).allSatisfy { !$0.isTest })
        #expect(try tpm.end() == .exited(0))
    }

    // MARK: - The idle TPM

    @Test func anIdleTPMTestsEachAlgorithmOnceAndNothingElseChanges() throws {
        let tpm = try start(registered: false)
        let pcrs = try tpm.transmit(Self.readPCRs)
        let state = tpm.state
        try tpm.channel.send(WorkerRequest.registered(selfTestAfter: 100))
        try awaitEnd(of: tpm)
        let tests = try recordOfTests(of: tpm).filter { $0.isTest }
        #expect(tests.count > 10 && Set(tests.map(\.algorithm)).count == tests.count, "\(tests)")
        #expect(tests == tests.sorted { $0.algorithm < $1.algorithm })
        #expect(try tpm.transmit(Self.readPCRs) == pcrs)
        #expect(try !tpm.hasSaidMore() && tpm.state == state)
        // Nothing is left that libtpms would have to test.
        let nothing: [UInt8] = [0x80, 0x01, 0, 0, 0, 14, 0, 0, 0, 0, 0, 0, 0, 0]
        #expect(try tpm.transmit([0x80, 0x01, 0, 0, 0, 14, 0, 0, 0x01, 0x42, 0, 0, 0, 0]) == nothing)
        #expect(try tpm.end() == .exited(0))
    }

    /// The first tests begin only once a command waits for them to end.
    @Test func aCommandWaitsForNoMoreThanOneTest() throws {
        let tpm = try start("hold", "5")
        for _ in 0..<5 { #expect(try transmit(getRandom, duringTestOf: tpm).count == 20) }
        let record = try recordOfTests(of: tpm).prefix(10)
        #expect(record.map { $0.isTest } == (0..<10).map { $0 % 2 == 0 }, "\(record)")
        #expect(record.filter { !$0.isTest }.allSatisfy { $0 == .command(0x17b) })
        try awaitEnd(of: tpm)
        #expect(try tpm.end() == .exited(0))
    }

    @Test func aTestOfEverythingLeavesNothingToDo() throws {
        let tpm = try start("hold", "1")
        #expect(try transmit(Self.fullTest, duringTestOf: tpm) == Self.success)
        #expect(try tpm.transmit(Self.getTestResult) == Self.testResult(0, 0))
        let record = try recordOfTests(of: tpm)
        #expect(record.count >= 2 && record[0].isTest && record[1] == .command(0x143))
        #expect(record.dropFirst().allSatisfy { !$0.isTest }, "\(record)")
        // Nobody asks libtpms what is left either.
        let questions = try recordWithQuestions(of: tpm).drop { $0 != .command(0x143) }.filter { $0.code == 0x142 }
        #expect(questions == [], "\(questions)")
        #expect(try tpm.end() == .exited(0))
    }

    @Test func aTenantsTestOfTheRestIsExecuted() throws {
        let tpm = try start("hold", "1")
        #expect(try transmit(Self.selfTest, duringTestOf: tpm) == Self.success)
        #expect(try tpm.transmit(Self.getTestResult) == Self.testResult(0, 0))
        let record = try recordOfTests(of: tpm)
        #expect(record.filter { $0.isTest }.count == 1 && record.contains(.command(0x143)), "\(record)")
        #expect(try tpm.end() == .exited(0))
    }

    // MARK: - Shutdowns

    @Test func nothingFollowsATenantsShutdownUnasked() throws {
        let tpm = try start("hold", "1")
        #expect(try transmit(Self.shutdown, duringTestOf: tpm) == Self.success)
        #expect(try !tpm.hasSaidMore())
        // It would have begun in this time, since nothing holds it; a right one never does.
        usleep(100_000)
        let record = try recordOfTests(of: tpm)
        #expect(record.map { $0.isTest } == [true, false] && record.last == .command(0x145), "\(record)")
        try awaitEnd(of: tpm)
        #expect(try tpm.end() == .exited(0))
    }

    @Test func aShutdownEndsATestThatIsNotComplete() throws {
        let tpm = try start("hold", "1")
        try #require(try wait(for: tpm.device, until: Deadline(milliseconds: 60_000)) != 0)
        try #require(tpm.answer() == [1])
        try tpm.channel.send(WorkerRequest.shutdown)
        try tpm.ask(getRandom)
        #expect(try tpm.hear() == .stopped)
        #expect(try tpm.worker.wait() == .exited(0))
    }

    /// A TPM that expects its end is shut down while it is used on.
    @Test func nothingIsTestedWhenTheEndIsExpected() throws {
        let tpm = try start(registered: false)
        try tpm.channel.send(WorkerRequest.expectEnd)
        try tpm.channel.send(WorkerRequest.registered(selfTestAfter: 100))
        // Its store says that TPM2_Shutdown is executed, and that it has heard the first message.
        try #require(try tpm.receive().kind == .state)
        try tpm.channel.send(WorkerRequest.stored)
        usleep(100_000)
        #expect(try recordOfTests(of: tpm) == [])
        #expect(try tpm.transmit(Self.getTestResult) == Self.testResult(0x09, 0x0a))
        #expect(try tpm.end() == .exited(0))
    }

    // MARK: - Failures

    /// libtpms itself finds that a cipher is another, and goes into failure mode. Part 1, 10.4
    @Test func aFailingTestIsFailureMode() throws {
        let tpm = try start("break")
        let (kind, text) = try tpm.receive()
        #expect(kind == .failed)
        #expect(text.hasPrefix("cannot serve the vTPM: libtpms ") && text.contains("its self-test has failed, error 6"))
        #expect(try tpm.transmit(getRandom) == failureResponse)
        #expect(try tpm.transmit(Self.selfTest) == failureResponse)
        let result = try tpm.transmit(Self.getTestResult)
        #expect(result.prefix(10).suffix(4) == [0, 0, 0, 0] && result.suffix(4) == [0, 0, 0x01, 0x01])
        #expect(try !tpm.hasSaidMore())
        #expect(try tpm.end() == .exited(0))
    }

    /// The same if the test is a tenant's, or that of an algorithm which a tenant uses first.
    @Test func aFailingTestOfATenantsIsFailureMode() throws {
        let tpm = try start("break", registered: false)
        #expect(try tpm.transmit(Self.fullTest) == failureResponse)
        #expect(try tpm.receive().kind == .failed)
        #expect(try tpm.transmit(getRandom) == failureResponse)
        #expect(try !tpm.hasSaidMore())
        #expect(try tpm.end() == .exited(0))
    }

    /// The log says so, and what comes after is a failed vTPM's end, with its worker or without.
    @Test(arguments: [true, false]) func theHostLearnsOfAFailingTest(workerDies: Bool) throws {
        let temporary = try TemporaryDirectory()
        let daemon = try LogTests.Daemon("\(temporary.path)/log")
        let program = VTPMUnderTest.program("ObservedLibrary")
        try temporary.write("worker", Array("#!/bin/sh\nexec \(program) break\n".utf8))
        chmod("\(temporary.path)/worker", 0o700)
        let script = """
            mount -t tmpfs none /dev && mknod -m 0666 /dev/null c 1 3 && ln -s '\(temporary.path)/log' /dev/log && exec "$@"
            """
        let starter = ["/usr/bin/unshare", "--mount", "--propagation", "private", "/bin/sh", "-c", script, "sh"]
        let tpm = try VTPMUnderTest(in: temporary, worker: "\(temporary.path)/worker", starter: starter)
        try tpm.create()
        let deadline = Deadline(milliseconds: 60_000)
        while try tpm.status().health == .serving { try #require(!deadline.hasPassed) }
        #expect(try tpm.status().reason.contains("its self-test has failed"))
        #expect(try tpm.transmit(getRandom) == failureResponse)
        if workerDies {
            kill(tpm.worker, SIGKILL)
        } else {
            #expect(try tpm.transmit(Self.getTestResult).suffix(4) == [0, 0, 0x01, 0x01])
        }
        for _ in 0..<3 { #expect(try tpm.transmit(extendPCR7) == failureResponse) }
        #expect(try tpm.stop() == .exited(0))
        let lines = daemon.lines().filter { $0.contains("event=failed") }
        #expect(lines.count == 1)
        #expect(lines.first?.contains("until the container stops: cannot serve the vTPM: libtpms ") == true, "\(lines)")
    }
}
