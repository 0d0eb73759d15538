import Platform
import RuntimeControl
import Testing

@testable import RuntimeSupervisor

/// States that come over a real channel, as a worker sends them.
@Suite struct IncomingStateTests {
    let worker: Channel
    let supervisor: Channel
    let buffer = Channel.makeBuffer()

    init() throws {
        let pair = try Channel.pair(near: "worker", far: "supervisor")
        worker = pair.near
        supervisor = pair.far
    }

    private func state(_ size: Int) -> [UInt8] { (0..<size).map { UInt8(truncatingIfNeeded: $0 &* 7 &+ size) } }

    /// What comes of a state whose chunks are sent one by one.
    private func transfer(_ bytes: [UInt8], into incoming: inout IncomingState) throws -> [UInt8]? {
        var offset = 0
        while true {
            let end = min(offset + Channel.chunkSize, bytes.count)
            try Array(bytes[offset..<end]).withUnsafeBytes {
                try worker.send(kind: WorkerReply.Kind.state.rawValue, $0)
            }
            guard let message = try supervisor.receive(into: buffer) else { return nil }
            let whole = try incoming.take(message)
            if end - offset < Channel.chunkSize { return whole?.withBytes { Array($0) } }
            #expect(whole == nil)
            offset = end
        }
    }

    @Test func eachStateComesWholeWhateverCameBefore() throws {
        var incoming = IncomingState(from: "worker")
        let chunk = Channel.chunkSize
        for size in [1, chunk - 1, chunk, chunk + 1, 2 * chunk, WorkerReply.stateLimit, 0, 1, 3 * chunk - 1, 5] {
            let bytes = state(size)
            #expect(try transfer(bytes, into: &incoming) == bytes, "\(size) bytes")
        }
    }

    /// What somebody still has stays as it is, and nobody else gets its memory; what nobody has is wiped.
    @Test func aStateStaysItsOwners() throws {
        var incoming = IncomingState(from: "worker")
        func take(_ byte: UInt8) throws -> SecretBytes {
            try [UInt8](repeating: byte, count: 3)
                .withUnsafeBytes { try worker.send(kind: WorkerReply.Kind.state.rawValue, $0) }
            guard let message = try supervisor.receive(into: buffer), let state = try incoming.take(message) else {
                throw Failure("cannot test", because: "no state came")
            }
            return state
        }
        let first = try take(1)
        incoming.wipe()
        let second = try take(2)
        #expect(first.withBytes { Array($0) } == [1, 1, 1])
        #expect(second.withBytes { Array($0) } == [2, 2, 2])
        let memory = second.withBytes { UInt(bitPattern: $0.baseAddress) }
        _ = consume second
        incoming.wipe()
        let wiped = UnsafeRawBufferPointer(start: UnsafeRawPointer(bitPattern: memory), count: 3)
        #expect(Array(wiped) == [0, 0, 0])
        #expect(try take(3).withBytes { UInt(bitPattern: $0.baseAddress) } == memory)
    }

    @Test func oneThatIsTooLargeIsRefusedAndForgotten() throws {
        var incoming = IncomingState(from: "worker")
        let error = #expect(throws: Failure.self) {
            try transfer(state(WorkerReply.stateLimit + 1), into: &incoming)
        }
        #expect(error?.description.contains("more than \(WorkerReply.stateLimit) bytes") == true)
        #expect(try transfer(state(7), into: &incoming) == state(7))
    }
}
