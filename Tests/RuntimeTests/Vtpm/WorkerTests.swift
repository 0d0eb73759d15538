import CLinux
import Glibc
import Platform
import RuntimeConfinement
import RuntimeControl
import Testing

/// A real worker; the test is its supervisor, and a socket stands in for the vTPM proxy's descriptor.
@Suite(.serialized) struct WorkerTests {
    let channel: Channel
    let worker: RunningProgram
    let buffer = Channel.makeBuffer()

    /// TPM2_NV_DefineSpace of 8 bytes at an index, by the owner with an empty password.
    static func defineSpace(_ index: UInt8) -> [UInt8] {
        [0x80, 0x02, 0, 0, 0, 45, 0, 0, 0x01, 0x2a, 0x40, 0, 0, 1]
            + [0, 0, 0, 9, 0x40, 0, 0, 9, 0, 0, 0, 0, 0]
            + [0, 0]
            + [0, 14, 0x01, 0x50, 0, index, 0, 0x0b, 0, 2, 0, 2, 0, 0, 0, 8]
    }

    init() throws {
        let pair = try Channel.pair(near: "supervisor", far: "worker")
        var launch = ProgramLaunch(VTPMUnderTest.program("vtpm-worker"), ["vtpm-worker"])
        launch.passed = [pair.far.descriptor.number]
        worker = RunningProgram(try WorkerNamespace.start(launch))
        channel = pair.near
        let itself = try ProcessHandle(getpid())
        let user = try WorkerUser(of: worker.process).number
        try channel.send(WorkerRequest.confine(user: user), descriptors: [itself.descriptor.number])
        try #require(try hear() == .confined)
        try channel.send(WorkerRequest.initialize(hasState: false))
    }

    /// The worker's next message that is no part of a state, each of which is acknowledged.
    func hear(acknowledging answer: WorkerRequest = .stored) throws -> WorkerReply.Kind? {
        while true {
            try #require(try wait(for: channel.descriptor.number, until: Deadline(milliseconds: 60_000)) != 0)
            guard let message = try channel.receive(into: buffer) else { return nil }
            let kind = WorkerReply.Kind(rawValue: message.kind)
            guard kind == .state else { return kind }
            if message.count < Channel.chunkSize { try channel.send(answer) }
        }
    }

    /// Has the worker serve a socket; returns the other end.
    func serve() throws -> CInt {
        try #require(try hear() == .ready)
        var ends: [CInt] = [-1, -1]
        try #require(socketpair(AF_UNIX, CInt(SOCK_SEQPACKET.rawValue | SOCK_CLOEXEC.rawValue), 0, &ends) == 0)
        try channel.send(WorkerRequest.serve, descriptors: [ends[0]])
        close(ends[0])
        try #require(try hear() == .serving)
        return ends[1]
    }

    func answer(on device: CInt) -> [UInt8] {
        var answer = [UInt8](repeating: 0, count: 4096)
        let count = recv(device, &answer, answer.count, 0)
        return Array(answer.prefix(max(count, 0)))
    }

    @Test func anAnswerWaitsForItsStore() throws {
        let device = try serve()
        let command = Self.defineSpace(1)
        try #require(send(device, command, command.count, 0) == command.count)
        guard let message = try channel.receive(into: buffer) else { throw Failure("no", because: "store") }
        #expect(message.kind == WorkerReply.Kind.state.rawValue)
        // Nothing is answered while nothing is stored. A wrong worker would answer within this time, a right one never.
        #expect(try wait(for: device, until: Deadline(milliseconds: 300)) == 0)
        try channel.send(WorkerRequest.stored)
        #expect(answer(on: device).prefix(10).suffix(4).elementsEqual([0, 0, 0, 0]))
        close(device)
        _ = try worker.wait()
    }

    @Test func aRefusedStoreIsAFailure() throws {
        let device = try serve()
        let command = Self.defineSpace(1)
        try #require(send(device, command, command.count, 0) == command.count)
        guard try channel.receive(into: buffer) != nil else { throw Failure("no", because: "store") }
        try channel.send(WorkerRequest.refused)
        #expect(answer(on: device) == failureResponse)
        try #require(send(device, getRandom, getRandom.count, 0) == getRandom.count)
        #expect(answer(on: device) == failureResponse)
        close(device)
        _ = try worker.wait()
    }

    /// The order can come while the worker waits for the answer to a store.
    @Test func aShutdownThatCrossesAStoreIsObeyed() throws {
        let device = try serve()
        let command = Self.defineSpace(1)
        try #require(send(device, command, command.count, 0) == command.count)
        guard try channel.receive(into: buffer) != nil else { throw Failure("no", because: "store") }
        try channel.send(WorkerRequest.shutdown)
        try channel.send(WorkerRequest.stored)
        #expect(answer(on: device).prefix(10).suffix(4).elementsEqual([0, 0, 0, 0]))
        #expect(try hear() == .stopped)
        #expect(try worker.wait() == .exited(0))
        close(device)
    }

    /// At a shutdown of the host the container may end while what follows SIGTERM is stored.
    @Test func aShutdownThatCrossesTheStoreOfAnotherIsObeyed() throws {
        let device = try serve()
        try channel.send(WorkerRequest.expectEnd)
        guard let message = try channel.receive(into: buffer) else { throw Failure("no", because: "store") }
        #expect(message.kind == WorkerReply.Kind.state.rawValue)
        try channel.send(WorkerRequest.shutdown)
        if message.count < Channel.chunkSize { try channel.send(WorkerRequest.stored) }
        #expect(try hear() == .stopped)
        #expect(try worker.wait() == .exited(0))
        close(device)
    }

    /// The kernel gives a new TPM 2 s for TPM2_SelfTest, which a slow one would not meet.
    @Test func aSlowTPMHasTestedItselfBeforeItIsReady() throws {
        let first = try channel.receive(into: buffer)?.kind
        try #require(first == WorkerReply.Kind.state.rawValue)
        // A slow host's TPM waits as long for something.
        usleep(100_000)
        try channel.send(WorkerRequest.stored)
        let device = try serve()
        // TPM2_IncrementalSelfTest of nothing tells what is still to be tested. Part 3, 10.3
        let command: [UInt8] = [0x80, 0x01, 0, 0, 0, 14, 0, 0, 0x01, 0x42, 0, 0, 0, 0]
        try #require(send(device, command, command.count, 0) == command.count)
        #expect(answer(on: device) == [0x80, 0x01, 0, 0, 0, 14, 0, 0, 0, 0, 0, 0, 0, 0])
        close(device)
        _ = try worker.wait()
    }

    @Test func aFailedTPMDoesNotSayThatItIsShutDown() throws {
        let device = try serve()
        try channel.send(WorkerRequest.shutdown)
        #expect(try hear(acknowledging: .refused) == .failure)
        #expect(try worker.wait() == .exited(1))
        close(device)
    }
}
