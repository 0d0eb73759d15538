import Glibc
import Platform
import RuntimeControl
import RuntimeState

@testable import RuntimeSupervisor

/// What the programs say to each other: the first byte says which conversation, then a list of messages follows, the
/// first byte of each being its kind.
///
/// 0: the hook's orders to a new supervisor. 1: a worker's messages to its supervisor. 2: questions and answers of a
/// control socket, and of a preparation. The bits above are how many descriptors come with the first message.
func fuzzControl(_ bytes: UnsafeRawBufferPointer) {
    guard let first = bytes.first else { return }
    let messages = Array(Records(bytes.dropFirst()).prefix(64)).map(\.bytes)
    for message in messages { bodies(Array(message.dropFirst())) }
    let pair = must { () throws(Failure) in try Channel.pair(near: "sender", far: "hearer") }
    sendAsIs(messages, Int(first >> 4) % (Channel.descriptorLimit + 1), to: pair.near)
    // The sender has said all: nobody waits for more.
    shutdown(pair.near.descriptor.number, CInt(SHUT_WR))
    switch first & 0x0f {
    case 0: handleHookMessage(pair.far)
    case 1: handleWorkerMessage(pair.far)
    default: hearClient(pair.far)
    }
}

/// Whole bodies that are read at one go come back as they were.
private func bodies(_ body: [UInt8]) {
    var reader = ByteReader(body)
    if let request = StartRequest(&reader) {
        var writer = ByteWriter()
        request.encode(into: &writer)
        var written = ByteReader(writer.bytes)
        require(StartRequest(&written) == request, "a request does not come back as it was")
    }
    reader = ByteReader(body)
    if let status = VTPMStatus(&reader), status.reason.utf8.count <= Failure.relayedLimit {
        var writer = ByteWriter()
        status.encode(into: &writer)
        require(body.starts(with: writer.bytes), "a status does not come back as it was")
    }
}

/// A sender that is not bound to what `Channel.send` may send.
func sendAsIs(_ messages: [[UInt8]], _ descriptorCount: Int, to channel: Channel) {
    let number = channel.descriptor.number
    for (index, message) in messages.enumerated() {
        if index == 0, let kind = message.first {
            let devices = [CInt](repeating: 0, count: descriptorCount).map { _ in
                open("/dev/null", O_RDONLY | O_CLOEXEC)
            }
            defer { for device in devices { close(device) } }
            let body = Array(message.dropFirst().prefix(Channel.messageLimit - 1))
            guard (try? body.withUnsafeBytes { try channel.send(kind: kind, $0, descriptors: devices) }) != nil else {
                return
            }
        } else {
            let flags = CInt(MSG_NOSIGNAL) | CInt(MSG_DONTWAIT)
            guard Glibc.send(number, message, message.count, flags) >= 0 else { return }
        }
    }
}

/// Never readable.
private let noSignals = must { () throws(Failure) in try Channel.pair(near: "", far: "") }

private func handleHookMessage(_ hook: Channel) {
    _ = accepted { () throws(Failure) in
        guard var start = try ReceivedStart(from: hook, unless: noSignals.near.descriptor) else { return }
        if let (repository, storage) = try start.takeRepository() {
            _ = repository
            _ = try StateDirectoryName.encoded(storage.stateID)
        }
    }
}

private nonisolated(unsafe) let buffer = Channel.makeBuffer()

private func handleWorkerMessage(_ worker: Channel) {
    var incoming = IncomingState(from: "worker")
    _ = accepted { () throws(Failure) in
        while let message = try worker.receive(into: buffer) {
            _ = WorkerRequest(message)
            switch WorkerReply(message) {
            case .state:
                guard let state = try incoming.take(message) else { continue }
                require(state.count <= WorkerReply.stateLimit, "a state larger than any")
            case .failure(let failure), .failed(let failure): throw failure
            default: continue
            }
        }
    }
}

private func hearClient(_ client: Channel) {
    _ = accepted { () throws(Failure) in
        while let message = try client.receive(into: buffer) {
            let body = message.body
            require(body.count == message.count, "a body of another size than its message")
            let key = try SecretBytes(capacity: MasterKey.size)
            _ = ControlReply(message)
            _ = HookReply(message)
            _ = HookRequest(message)
            if case .adopt(let token)? = AdoptionRequest(message) {
                require(token == body, "a token that is not what came")
            }
            for failure in [failure(of: AdoptionReply(message)), failure(of: PreparationReply(message))] {
                _ = accepted { () throws(Failure) in if let failure { throw failure } }
            }
            if case .rekey? = ControlRequest(message), message.append(to: key) {
                require(key.count == body.count, "a key that is not what came")
                _ = try MasterKey(key)
            }
        }
    }
}

private func failure(of reply: AdoptionReply?) -> Failure? {
    guard case .failure(let failure)? = reply else { return nil }
    return failure
}

private func failure(of reply: PreparationReply?) -> Failure? {
    guard case .failure(let failure)? = reply else { return nil }
    return failure
}
