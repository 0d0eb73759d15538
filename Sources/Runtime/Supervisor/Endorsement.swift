import Glibc
import Platform
import RuntimeControl
import RuntimeState
import VTPMProxy

/// What is said between the certificate authority and a worker whose TPM starts.
///
/// The supervisor hands on the authority's commands and the TPM's responses, and reads neither.
struct Endorsement {
    /// The channel to the authority; nil until the hook has handed it over.
    var authority: Channel?
    /// Whether there is none, or it has failed, so that a TPM from before starts as it is.
    var isDeclined = false
    /// Whether the TPM is executing a command of the authority's.
    var isExecuting = false

    private static let what = "cannot endorse the TPM"

    /// Returns the error about an authority that ends before it has done its work.
    static var ended: Failure { Failure(what, because: "the certificate authority ended", hint: "see the system log") }

    static func outOfTurn(_ kind: UInt8) -> Failure {
        Failure(what, because: "the certificate authority sent message \(kind) out of turn")
    }
}

extension Supervisor {
    /// How long the authority may leave a message unread, in milliseconds.
    private static let authorityTimeout = 5000

    /// Takes over the channel to the authority that the hook has started.
    func takeAuthority(_ message: inout Message) throws(Failure) {
        guard lifecycle.phase == .starting, let endorsement, endorsement.authority == nil, !endorsement.isDeclined
        else {
            throw Failure("cannot start the vTPM", because: "the hook sent message \(message.kind) out of turn")
        }
        if let channel = message.descriptors.take() {
            self.endorsement?.authority = Channel(owning: channel, peer: "certificate authority")
        } else if manufactures {
            throw Failure("cannot endorse the TPM", because: "the hook has no certificate authority")
        } else {
            self.endorsement?.isDeclined = true
        }
        try beginEndorsement()
    }

    /// Begins once the worker's TPM waits for commands and the authority is there, or it is known that there is none.
    func beginEndorsement() throws(Failure) {
        guard let endorsement, launch.hasOpened else { return }
        if endorsement.isDeclined {
            self.endorsement = nil
            return try closePlatform()
        }
        guard let authority = endorsement.authority, let worker,
            let library = worker.libraryVersion
        else { return }
        let request = AuthorityRequest.begin(
            instance: store.instance,
            isNew: manufactures,
            library: library,
            former: store.endorsement
        )
        try tell(authority) { (deadline) throws(Failure) in try authority.send(request, until: deadline) }
    }

    /// Sends something to the authority; if that has ended, what it has said before, or its end, is heard next.
    private func tell(
        _ authority: Channel,
        _ send: (_ deadline: Deadline) throws(Failure) -> Void
    ) throws(Failure) {
        do throws(Failure) {
            try send(Deadline(milliseconds: Self.authorityTimeout))
        } catch let error where error.code == EPIPE || error.code == ECONNRESET {}
    }

    /// Hands a response on to the authority.
    func relay(response message: borrowing Message) throws(Failure) {
        guard lifecycle.phase == .starting, let endorsement, endorsement.isExecuting,
            message.count <= ProxyTransport.bufferSize
        else {
            throw Failure("cannot keep the vTPM", because: "its worker sent message \(message.kind) out of turn")
        }
        self.endorsement?.isExecuting = false
        guard let authority = endorsement.authority else { return try beginEndorsement() }
        let response = message.body
        try tell(authority) { (deadline) throws(Failure) in
            try authority.send(AuthorityRequest.response, followedBy: response, until: deadline)
        }
    }

    /// Hears the authority; a container that has had its TPM before does not depend on it.
    func handleAuthorityMessage() throws(Failure) {
        do throws(Failure) {
            try hearAuthority()
        } catch {
            guard !manufactures, endorsement != nil else { throw error }
            Log.error("\(error)")
            endorsement?.authority = nil
            endorsement?.isDeclined = true
            // A response that is under way is awaited.
            if endorsement?.isExecuting == false { try beginEndorsement() }
        }
    }

    /// Hands a command on to the worker, or completes what the authority says that it has completed.
    private func hearAuthority() throws(Failure) {
        guard let endorsement, let authority = endorsement.authority else { return }
        guard let message = try authority.receive(into: buffer) else { throw Endorsement.ended }
        guard let reply = AuthorityReply(message),
            launch.hasOpened && !endorsement.isExecuting || reply.kind == .failure
        else {
            throw Endorsement.outOfTurn(message.kind)
        }
        switch reply {
        case .execute:
            guard message.count <= ProxyTransport.bufferSize else { throw Endorsement.outOfTurn(message.kind) }
            self.endorsement?.isExecuting = true
            try worker?.channel.send(WorkerRequest.execute, followedBy: message.body)
        case .claim(let keys):
            let claim = try store.claim(keys, ofNew: manufactures)
            try tell(authority) { (deadline) throws(Failure) in
                try authority.send(AuthorityRequest.claimed(claim), until: deadline)
            }
        case .notice(let failure): Log.notice("\(failure)")
        case .keep:
            try take(record: message)
            // A new TPM has nothing to be kept: it is written once it is complete.
            if !manufactures { try write(startedState()) }
            try tell(authority) { (deadline) throws(Failure) in
                try authority.send(AuthorityRequest.kept, until: deadline)
            }
        case .complete:
            try take(record: message)
            // Without a state to go with it, the record would not be written.
            _ = try startedState()
            self.endorsement = nil
            try closePlatform()
        case .failure(let failure): throw failure
        }
    }

    /// What the TPM has stored in this start: at least that it was started up.
    private func startedState() throws(Failure) -> SecretBytes {
        guard let unwritten else {
            throw Failure("cannot endorse the TPM", because: "its worker has stored no state")
        }
        return unwritten
    }

    private func take(record message: borrowing Message) throws(Failure) {
        let record = message.body
        guard record.count <= AuthorityReply.recordLimit, EndorsementHead(of: record).level <= request.endorsement
        else {
            throw Endorsement.outOfTurn(message.kind)
        }
        store.endorsement = record
    }
}
