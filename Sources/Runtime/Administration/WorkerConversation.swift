import Glibc
import Platform
import RuntimeControl
import RuntimeHostTPM
import RuntimeSupervisor
import VTPMProxy

/// What is said with a worker whose TPM no container has, and what that TPM stores meanwhile.
final class WorkerConversation: TPMTransport {
    private let link: WorkerLink
    private let deadline: Deadline
    private let buffer: ScratchBuffer
    private var incoming = IncomingState(from: "worker")
    private var stored: SecretBytes?
    /// The near end of what the worker serves in a device's place; nil until ``serve()``.
    private var device: Channel?

    /// The record of what the certificate authority has done; empty without one.
    private(set) var endorsement: [UInt8] = []
    /// The last response to a command of the authority's.
    private var response: [UInt8] = []

    private static let what = "cannot start the TPM"
    /// The size of the largest response, in bytes. linux: TPM_BUFSIZE
    private static let responseLimit = 4096

    /// Begins with a worker that was given its state, or was told to manufacture one.
    init(over link: WorkerLink, until deadline: Deadline) throws(Failure) {
        self.link = link
        self.deadline = deadline
        buffer = try Channel.makeSecretBuffer()
    }

    /// Waits until the TPM has started up, and can execute commands of the host's.
    func awaitOpen() throws(Failure) { try awaitReply(.open) }

    /// Waits until the platform hierarchy is closed.
    func awaitReady() throws(Failure) { try awaitReply(.ready) }

    /// Hands the authority's commands on to the new TPM, and the TPM's responses to the authority, until that has done its work.
    func endorse(by authority: Channel, as instance: [UInt8]) throws(Failure) {
        guard let library = link.libraryVersion else { throw Failure(Self.what, because: "its library is unknown") }
        let begin = AuthorityRequest.begin(instance: instance, isNew: true, library: library, former: [])
        try tell { () throws(Failure) in try authority.send(begin, until: deadline) }
        while true {
            guard try wait(for: authority.descriptor.number, until: deadline) != 0 else {
                throw Failure(Self.what, because: "the certificate authority does not answer")
            }
            guard let message = try authority.receive(into: buffer) else {
                throw Failure(Self.what, because: "the certificate authority ended")
            }
            switch AuthorityReply(message) {
            case .execute:
                try link.channel.send(WorkerRequest.execute, followedBy: message.body, until: deadline)
                try awaitReply(.response)
                try tell { () throws(Failure) in
                    try authority.send(AuthorityRequest.response, followedBy: response, until: deadline)
                }
            // Nobody else can have the keys of a new TPM.
            case .claim:
                try tell { () throws(Failure) in try authority.send(AuthorityRequest.claimed(.own), until: deadline) }
            // It is written with the state.
            case .keep: try tell { () throws(Failure) in try authority.send(AuthorityRequest.kept, until: deadline) }
            case .complete:
                endorsement = message.body
                return
            case .failure(let failure), .notice(let failure): throw failure
            case .none:
                throw Failure(Self.what, because: "the certificate authority sent message \(message.kind) out of turn")
            }
        }
    }

    /// Sends the authority something; if that has ended, what it has said before, or its end, is heard next.
    private func tell(_ send: () throws(Failure) -> Void) throws(Failure) {
        do throws(Failure) {
            try send()
        } catch let error where error.code == EPIPE || error.code == ECONNRESET {}
    }

    /// Has the worker serve a socket, which has the framing of the kernel's device; from then on ``transmit(_:)`` works.
    func serve() throws(Failure) {
        let pair = try Channel.pair(near: "vtpmctl", far: "worker's TPM")
        try link.send(.serve, descriptors: [pair.far.descriptor.number])
        device = pair.near
        try awaitReply(.serving)
    }

    /// Has the worker execute TPM2_Shutdown; returns the state that it stored last.
    func shutDown() throws(Failure) -> SecretBytes {
        try link.send(.shutdown)
        try awaitReply(.stopped)
        buffer.wipe()
        guard let stored, stored.count > 0 else {
            throw Failure(Self.what, because: "its worker stored nothing")
        }
        return stored
    }

    func transmit(_ command: [UInt8]) throws(Failure) -> [UInt8] {
        let what = "cannot use the new TPM"
        guard let device else { throw Failure(what, because: "nobody serves it") }
        let number = device.descriptor.number
        try systemCall("send", what) {
            command.withUnsafeBytes { send(number, $0.baseAddress, $0.count, CInt(MSG_NOSIGNAL)) }
        }
        while true {
            var set = PollSet()
            let (channel, answer) = (set.add(link.channel.descriptor.number), set.add(number))
            try set.wait(until: deadline)
            // A command is answered once its change is stored.
            if set.isReady(channel) {
                if let kind = try takeMessage() { throw outOfTurn(kind.rawValue) }
            } else if set.isReady(answer) {
                var response = [UInt8](repeating: 0, count: Self.responseLimit)
                let count = try systemCall("read", what) {
                    response.withUnsafeMutableBytes { read(number, $0.baseAddress, $0.count) }
                }
                guard count > 0 else { throw Failure(what, because: "its worker ended") }
                return Array(response[..<count])
            } else if deadline.hasPassed {
                throw Failure(what, because: "its worker does not answer")
            }
        }
    }

    private func awaitReply(_ expected: WorkerReply.Kind) throws(Failure) {
        while true {
            guard !deadline.hasPassed, try wait(for: link.channel.descriptor.number, until: deadline) != 0 else {
                throw Failure(Self.what, because: "its worker does not answer")
            }
            guard let kind = try takeMessage() else { continue }
            guard kind == expected else { throw outOfTurn(kind.rawValue) }
            return
        }
    }

    /// Takes one message; returns nil if it was a part of the state, which is kept.
    private func takeMessage() throws(Failure) -> WorkerReply.Kind? {
        guard let message = try link.channel.receive(into: buffer) else {
            throw Failure(Self.what, because: "its worker ended")
        }
        switch WorkerReply(message) {
        case .state:
            if let state = try incoming.take(message) {
                stored = state
                try link.send(.stored)
            }
            return nil
        case .failure(let failure), .failed(let failure): throw failure
        case .response:
            response = message.body
            return .response
        case .some(let reply): return reply.kind
        case .none: throw outOfTurn(message.kind)
        }
    }

    private func outOfTurn(_ kind: UInt8) -> Failure {
        Failure(Self.what, because: "its worker sent message \(kind) out of turn")
    }
}
