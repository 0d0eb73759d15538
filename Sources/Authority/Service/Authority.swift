import CLinux
import Crypto
import CryptoCertificates
import Glibc
import Platform
import RuntimeConfinement
import RuntimeControl
import RuntimeEndorsement
import RuntimeFilter
import VTPMProxy

/// The certificate authority: a process that endorses one TPM, or makes a key, and ends.
///
/// It has the authority's key and nothing else: no file, no network, no other key. What it signs has a fixed form
/// (``EndorsementCertificate``), is never an authority's, and is for a key alone whose private part the TPM has shown to have.
public final class Authority {
    private let starter: Channel
    private let buffer: ScratchBuffer
    private static let what = "cannot endorse the TPM"
    /// How long its starter may take for an order, in milliseconds.
    private static let timeout = 60_000

    /// Creates it with the channel to its starter.
    public init(channel: Channel) throws(Failure) {
        starter = channel
        buffer = try Channel.makeSecretBuffer()
    }

    /// Confines this process, and carries out one order.
    ///
    /// If this throws, the error has been sent to the supervisor or to the starter.
    public func run() throws(Failure) {
        do throws(Failure) {
            try confine()
            var message = try receive()
            switch AuthorityOrder(message) {
            case .generate: try generate()
            case .endorse(let orders): try endorse(orders, &message)
            default: throw outOfTurn(message.kind)
            }
        } catch {
            try? starter.send(AuthorityAnswer.failure(error))
            throw error
        }
    }

    /// Gives up what it does not need, before it gets a key.
    private func confine() throws(Failure) {
        try WorkerConfinement.refuseInheritance(but: starter.descriptor.number)
        CryptoLibrary.prepare()
        let filter = try SystemCallFilter.ca.compiled()
        let network = try WorkerNamespace.makeNetwork()
        let message = try receive()
        guard case .confine(let number)? = AuthorityOrder(message), let user = WorkerUser(number) else {
            throw outOfTurn(message.kind)
        }
        try WorkerConfinement.enforce(as: user, in: network, under: filter)
        try starter.send(AuthorityAnswer.confined)
    }

    private func generate() throws(Failure) {
        let key = try SigningKey.generate()
        let certificate = try AuthorityCertificate.make(for: key, at: UInt64(clamping: time(nil)))
        try starter.send(AuthorityAnswer.generated(certificate))
        try starter.send(AuthorityAnswer.key, try key.encoded)
    }

    private func endorse(_ orders: EndorsementOrders, _ message: inout Message) throws(Failure) {
        guard let descriptor = message.descriptors.take() else {
            throw Failure(Self.what, because: "its starter has sent no channel to the supervisor")
        }
        let supervisor = SupervisorLink(Channel(owning: descriptor, peer: "supervisor"))
        do throws(Failure) {
            let authority = orders.level == .certificates ? try receiveKey(of: orders) : nil
            guard case .begin(let instance, let isNew, let library, let former) = try supervisor.awaitBeginning() else {
                throw Failure(Self.what, because: "the supervisor sent no order")
            }
            let endorser = Endorser(
                orders: orders,
                // An ephemeral TPM has no state to have its UUID from.
                instance: instance.isEmpty ? try Random.bytes(count: 16) : instance,
                isNew: isNew,
                library: library,
                former: EndorsementRecord(decoding: former),
                authority: authority,
                supervisor: supervisor
            )
            try supervisor.complete(endorser.endorse().encoded)
        } catch {
            try? supervisor.send(.failure(error))
            throw error
        }
    }

    /// Receives the authority's key; throws if it is not that of the certificate.
    private func receiveKey(of orders: EndorsementOrders) throws(Failure) -> CertifyingKey {
        guard let first = orders.chain.first else {
            throw Failure(Self.what, because: "the authority has no certificate")
        }
        defer { buffer.wipe() }
        let message = try receive()
        let bytes = try SecretBytes(capacity: SigningKey.sizeLimit)
        guard case .key? = AuthorityOrder(message), message.append(to: bytes) else { throw outOfTurn(message.kind) }
        let authority = CertifyingKey(
            key: try SigningKey(decoding: bytes),
            certificate: try Certificate(decoding: first)
        )
        guard authority.certificate.isOf(authority.key) else {
            throw Failure(Self.what, because: "the authority's certificate is of another key")
        }
        return authority
    }

    private func receive() throws(Failure) -> Message {
        guard try wait(for: starter.descriptor.number, until: Deadline(milliseconds: Self.timeout)) != 0 else {
            throw Failure(Self.what, because: "its starter sends no order")
        }
        guard let message = try starter.receive(into: buffer) else {
            throw Failure(Self.what, because: "its starter ended")
        }
        return message
    }

    private func outOfTurn(_ kind: UInt8) -> Failure {
        Failure(Self.what, because: "its starter sent message \(kind) out of turn")
    }
}
