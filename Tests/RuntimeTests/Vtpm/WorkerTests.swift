import Glibc
import Platform
import RuntimeControl
import Testing

/// A real worker; the test is its supervisor, and a socket stands in for the vTPM proxy's descriptor.
@Suite(.serialized) struct WorkerTests {
    let tpm: WorkerUnderTest

    /// TPM2_NV_DefineSpace of 8 bytes at an index, by the owner with an empty password.
    static func defineSpace(_ index: UInt8) -> [UInt8] {
        [0x80, 0x02, 0, 0, 0, 45, 0, 0, 0x01, 0x2a, 0x40, 0, 0, 1]
            + [0, 0, 0, 9, 0x40, 0, 0, 9, 0, 0, 0, 0, 0]
            + [0, 0]
            + [0, 14, 0x01, 0x50, 0, index, 0, 0x0b, 0, 2, 0, 2, 0, 0, 0, 8]
    }

    init() throws {
        tpm = try WorkerUnderTest()
    }

    @Test func anAnswerWaitsForItsStore() throws {
        try tpm.serve()
        let command = Self.defineSpace(1)
        try tpm.ask(command)
        #expect(try tpm.receive().kind == .state)
        // Nothing is answered while nothing is stored. A wrong worker would answer within this time, a right one never.
        #expect(try wait(for: tpm.device, until: Deadline(milliseconds: 300)) == 0)
        try tpm.channel.send(WorkerRequest.stored)
        #expect(tpm.answer().prefix(10).suffix(4).elementsEqual([0, 0, 0, 0]))
        _ = try tpm.end()
    }

    @Test func aRefusedStoreIsAFailure() throws {
        try tpm.serve()
        let command = Self.defineSpace(1)
        try tpm.ask(command)
        try #require(try tpm.receive().kind == .state)
        try tpm.channel.send(WorkerRequest.refused)
        #expect(tpm.answer() == failureResponse)
        try tpm.ask(getRandom)
        #expect(tpm.answer() == failureResponse)
        _ = try tpm.end()
    }

    /// The order can come while the worker waits for the answer to a store.
    @Test func aShutdownThatCrossesAStoreIsObeyed() throws {
        try tpm.serve()
        let command = Self.defineSpace(1)
        try tpm.ask(command)
        try #require(try tpm.receive().kind == .state)
        try tpm.channel.send(WorkerRequest.shutdown)
        try tpm.channel.send(WorkerRequest.stored)
        #expect(tpm.answer().prefix(10).suffix(4).elementsEqual([0, 0, 0, 0]))
        #expect(try tpm.hear() == .stopped)
        #expect(try tpm.worker.wait() == .exited(0))
    }

    /// At a shutdown of the host the container may end while what follows SIGTERM is stored.
    @Test func aShutdownThatCrossesTheStoreOfAnotherIsObeyed() throws {
        try tpm.serve()
        try tpm.channel.send(WorkerRequest.expectEnd)
        #expect(try tpm.receive().kind == .state)
        try tpm.channel.send(WorkerRequest.shutdown)
        try tpm.channel.send(WorkerRequest.stored)
        #expect(try tpm.hear() == .stopped)
        #expect(try tpm.worker.wait() == .exited(0))
    }

    @Test func aFailedTPMDoesNotSayThatItIsShutDown() throws {
        try tpm.serve()
        try tpm.channel.send(WorkerRequest.shutdown)
        #expect(try tpm.hear(acknowledging: .refused) == .failure)
        #expect(try tpm.worker.wait() == .exited(1))
    }
}
