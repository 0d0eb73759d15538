import Glibc
import Platform
import RuntimeControl
import Testing

@Suite struct ChannelTests {
    let near: Channel
    let far: Channel
    let buffer = Channel.makeBuffer()

    init() throws {
        let pair = try Channel.pair(near: "one", far: "other")
        near = pair.near
        far = pair.far
    }

    @Test func carriesDescriptorsInTheirOrder() throws {
        var pipes: [CInt] = [-1, -1]
        try #require(pipe(&pipes) == 0)
        let reading = Descriptor(owning: pipes[0])
        let writing = Descriptor(owning: pipes[1])
        try near.send(kind: 5, descriptors: [reading.number, writing.number])
        guard var message = try far.receive(into: buffer) else { throw Failure("no", because: "message") }
        #expect(message.kind == 5)
        #expect(message.body.isEmpty)
        let first = message.descriptors.take()
        let second = message.descriptors.take()
        let third = message.descriptors.take()
        if case .some = third { Issue.record("a descriptor too many") }
        guard let first, let second else { throw Failure("no", because: "descriptors") }
        // They do not stay open in a program that is started.
        #expect(fcntl(first.number, F_GETFD) & FD_CLOEXEC != 0)
        try second.writeAll([1, 2, 3], "the pipe")
        var bytes = [UInt8](repeating: 0, count: 8)
        #expect(read(first.number, &bytes, 8) == 3)
    }

    @Test func closesDescriptorsThatNobodyTakes() throws {
        var pipes: [CInt] = [-1, -1]
        try #require(pipe(&pipes) == 0)
        let reading = Descriptor(owning: pipes[0])
        try near.send(kind: 5, descriptors: [pipes[1]])
        close(pipes[1])
        _ = try far.receive(into: buffer)
        var byte: UInt8 = 0
        #expect(read(reading.number, &byte, 1) == 0)
    }

    @Test(arguments: [0, 1, 100, 16_383, 16_384, 16_385, 32_768, 176_832])
    func carriesContentsInChunks(size: Int) throws {
        let contents = (0..<size).map { UInt8(truncatingIfNeeded: $0 &* 31) }
        var received: [UInt8] = []
        // More than a socket holds would wait for the reader, who is the same thread here: read in between.
        for start in stride(from: 0, through: size, by: Channel.chunkSize) {
            let chunk = contents[start..<min(start + Channel.chunkSize, size)]
            try Array(chunk).withUnsafeBytes { try near.send(kind: 3, $0) }
            guard let message = try far.receive(into: buffer) else { break }
            received += message.body
            if message.body.count < Channel.chunkSize { break }
        }
        #expect(received == contents)
    }

    @Test func chunksEndWithAShorterOne() throws {
        let contents = [UInt8](repeating: 7, count: 2 * Channel.chunkSize)
        try contents.withUnsafeBytes { try near.sendChunks(WorkerReply.state, of: $0) }
        var sizes: [Int] = []
        for _ in 0..<3 {
            guard let message = try far.receive(into: buffer) else { break }
            sizes.append(message.body.count)
        }
        #expect(sizes == [Channel.chunkSize, Channel.chunkSize, 0])
    }

    @Test func doesNotWaitForAReader() throws {
        let contents = [UInt8](repeating: 7, count: Channel.chunkSize)
        let error = #expect(throws: Failure.self) {
            for _ in 0..<1000 { try contents.withUnsafeBytes { try near.send(kind: 3, $0) } }
        }
        #expect(error?.code == EAGAIN)
    }

    @Test func refusesAMessageThatIsTooLong() throws {
        let size = 2 * Channel.messageLimit
        let bytes = [UInt8](repeating: 1, count: size)
        try #require(send(near.descriptor.number, bytes, size, 0) == size)
        let error = #expect(throws: Failure.self) { _ = try far.receive(into: buffer) }
        #expect(
            error?.description == "cannot receive from the one: a message is longer than any that it may send"
        )
    }

    /// What is sent may come from somebody else: one that is too long is an error, and sends nothing.
    @Test func doesNotSendAMessageThatIsTooLong() throws {
        let longest = [UInt8](repeating: 1, count: Channel.messageLimit - 1)
        try longest.withUnsafeBytes { try near.send(kind: 3, $0) }
        #expect(try far.receive(into: buffer)?.count == longest.count)
        let error = #expect(throws: Failure.self) {
            try (longest + [1]).withUnsafeBytes { try near.send(kind: 3, $0) }
        }
        #expect(
            error?.description == "cannot send to the other: the message has 32769 bytes, and 32768 are the most"
        )
        #expect(try wait(for: far.descriptor.number, until: Deadline(milliseconds: 0)) == 0)
    }

    /// What is too long for a message is told as far as it is taken over, and not kept back as a whole.
    @Test func aLongFailureIsToldInPart() throws {
        try near.send(HookReply.failure(Failure("cannot do", because: String(repeating: "e", count: 100_000))))
        try #require(try wait(for: far.descriptor.number, until: Deadline(milliseconds: 0)) != 0, "nothing was sent")
        #expect(try far.receive(into: buffer)?.count == Failure.relayedLimit)
    }

    /// Of another process's words a bounded part is kept, whatever bytes they are of.
    @Test(arguments: [[0x41], [0xff], Array("\u{1F600}".utf8), [0xe2, 0x82]] as [[UInt8]])
    func takesOverABoundedPartOfWords(pattern: [UInt8]) throws {
        let words = [UInt8]("cannot do: ".utf8) + (0..<30_000).map { pattern[$0 % pattern.count] }
        try words.withUnsafeBytes { try near.send(kind: 3, $0) }
        guard let failure = try far.receive(into: buffer)?.failure else { throw Failure("no", because: "message") }
        #expect(failure.what == "cannot do")
        #expect((4000...Failure.relayedLimit).contains(failure.description.utf8.count))
        try near.send(ControlReply.failure(failure))
        #expect(try far.receive(into: buffer)?.failure == failure)
    }
}

/// The control socket of a supervisor that stands still.
@Suite struct ControlSocketTests {
    @Test func oneThatAcceptsNobodyIsNotWaitedForWithoutEnd() throws {
        let temporary = try TemporaryDirectory()
        let directory = try temporary.directory("lease")
        let listener = try ControlSocket.listen(in: directory)
        var waiting: [Channel] = []
        let error = #expect(throws: Failure.self) {
            for _ in 0..<1000 {
                waiting.append(try ControlSocket.connect(in: directory, until: Deadline(milliseconds: 100)))
            }
        }
        #expect(error?.description == "cannot reach the supervisor: it accepts no connection")
        #expect(waiting.count >= 8)
        // Who came in time is heard, by a socket that waits.
        let first = try ControlSocket.accept(from: listener)
        #expect(first != nil)
        #expect(fcntl(waiting[0].descriptor.number, F_GETFL) & O_NONBLOCK == 0)
        try waiting[0].send(ControlRequest.status)
        #expect(try first?.receive(into: Channel.makeBuffer())?.kind == ControlRequest.Kind.status.rawValue)
    }
}
