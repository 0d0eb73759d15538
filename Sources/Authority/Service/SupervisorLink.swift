import Platform
import RuntimeControl
import RuntimeHostTPM
import VTPMProxy

/// The supervisor of the TPM that is being endorsed, which hands commands on to the TPM.
final class SupervisorLink: TPMTransport {
    private let channel: Channel
    private let buffer = Channel.makeBuffer()

    private static let what = "cannot endorse the TPM"
    /// How long the supervisor may take, in milliseconds: the TPM may be making a key.
    private static let timeout = 60_000

    init(_ channel: Channel) {
        self.channel = channel
    }

    func send(_ reply: AuthorityReply) throws(Failure) { try channel.send(reply) }

    /// Waits for the order to begin.
    func awaitBeginning() throws(Failure) -> AuthorityRequest {
        let message = try receive()
        guard let request = AuthorityRequest(message), request.kind == .begin else { throw outOfTurn(message.kind) }
        return request
    }

    func transmit(_ command: [UInt8]) throws(Failure) -> [UInt8] {
        try channel.send(AuthorityReply.execute, followedBy: command)
        let message = try receive()
        guard case .response? = AuthorityRequest(message) else { throw outOfTurn(message.kind) }
        return message.body
    }

    /// Returns whether keys are this instance's alone, by their marks.
    func claim(_ marks: [[UInt8]]) throws(Failure) -> KeyClaim {
        try channel.send(AuthorityReply.claim(marks))
        let message = try receive()
        guard case .claimed(let claim)? = AuthorityRequest(message) else { throw outOfTurn(message.kind) }
        return claim
    }

    /// Has a record stored, of what is not done yet.
    func keep(_ record: [UInt8]) throws(Failure) {
        try send(.keep, record)
        let message = try receive()
        guard case .kept? = AuthorityRequest(message) else { throw outOfTurn(message.kind) }
    }

    /// Says that all is done.
    func complete(_ record: [UInt8]) throws(Failure) { try send(.complete, record) }

    private func send(_ reply: AuthorityReply, _ record: [UInt8]) throws(Failure) {
        guard record.count <= AuthorityReply.recordLimit else {
            throw Failure(Self.what, because: "the record of it has \(record.count) bytes")
        }
        try channel.send(reply, followedBy: record)
    }

    private func receive() throws(Failure) -> Message {
        guard try wait(for: channel.descriptor.number, until: Deadline(milliseconds: Self.timeout)) != 0 else {
            throw Failure(Self.what, because: "the supervisor does not answer")
        }
        guard let message = try channel.receive(into: buffer) else {
            throw Failure(Self.what, because: "the supervisor ended")
        }
        return message
    }

    private func outOfTurn(_ kind: UInt8) -> Failure {
        Failure(Self.what, because: "the supervisor sent message \(kind) out of turn")
    }
}
