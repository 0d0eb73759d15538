import CLinux
import Crypto
import CryptoCertificates
import CryptoTransfer
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
/// (``IdentityCertificate``), is never an authority's, and is for a key alone whose private part the TPM has shown to have.
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
            case .list(let orders): try list(orders)
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

    private func list(_ orders: RevocationOrders) throws(Failure) {
        let authority = try receiveKey(of: [Certificate(decoding: orders.certificate)])
        let list = try RevocationList.make(orders, by: authority)
        let deadline = Deadline(milliseconds: Self.timeout)
        let result = list.withUnsafeBytes { bytes in
            Result { () throws(Failure) in try starter.sendChunks(AuthorityAnswer.list, of: bytes, until: deadline) }
        }
        try result.get()
    }

    private func endorse(_ orders: EndorsementOrders, _ message: inout Message) throws(Failure) {
        guard let descriptor = message.descriptors.take() else {
            throw Failure(Self.what, because: "its starter has sent no channel to the supervisor")
        }
        let supervisor = SupervisorLink(Channel(owning: descriptor, peer: "supervisor"))
        do throws(Failure) {
            var orders = orders
            let chain = try certificates(of: orders)
            orders.chain = chain.map(\.encoded)
            let authority = orders.level == .certificates ? try receiveKey(of: chain) : nil
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

    /// Receives the authority's key; throws if it is not that of the certificate, or the certificate is no authority's.
    private func receiveKey(of chain: [Certificate]) throws(Failure) -> CertifyingKey {
        let what = "cannot use the certificate authority"
        guard let first = chain.first else { throw Failure(what, because: "it has no certificate") }
        defer { buffer.wipe() }
        var revoked: [RevokedCertificate] = []
        var message = try receive()
        while case .revoked(let list)? = AuthorityOrder(message) {
            revoked += list
            guard revoked.count <= RevokedCertificate.countLimit else { throw outOfTurn(message.kind) }
            message = try receive()
        }
        let place: CertifyingKey.Place
        switch AuthorityOrder(message) {
        case .key:
            let bytes = try SecretBytes(capacity: PEMBlock.fileLimit)
            guard message.append(to: bytes) else { throw outOfTurn(message.kind) }
            let key = try SigningKey(decoding: decoded(bytes))
            guard first.isOf(key) else { throw Failure(what, because: "its certificate is of another key") }
            place = .here(key)
        case .external(let milliseconds):
            guard let stream = message.descriptors.take() else { throw outOfTurn(message.kind) }
            place = .external(ExternalSigner(over: stream, budget: Int(milliseconds)))
        default: throw outOfTurn(message.kind)
        }
        guard first.isAuthority else { throw Failure(what, because: "its certificate is not one of an authority") }
        guard !first.subjectKeyID.isEmpty else {
            throw Failure(what, because: "its certificate has no subject key identifier")
        }
        return CertifyingKey(place, certificate: first, revoked: revoked)
    }

    /// Returns a private key in DER, which the operator keeps in PEM.
    private func decoded(_ key: SecretBytes) throws(Failure) -> SecretBytes {
        guard key.withBytes({ $0.starts(with: "-----".utf8) }) else { return key }
        guard let block = try PEMBlock.first(in: key), block.label.hasSuffix("PRIVATE KEY"), !block.isEncrypted,
            block.label != "ENCRYPTED PRIVATE KEY"
        else {
            throw Failure(
                "cannot use the certificate authority's key",
                because: "the file has no private key in PEM that is not encrypted"
            )
        }
        return block.contents
    }

    private func certificates(of orders: EndorsementOrders) throws(Failure) -> [Certificate] {
        // In DER it is a SEQUENCE of 256 bytes and more.
        if let text = orders.chain.first, !text.starts(with: [0x30, 0x82]) { return try Certificate.all(inPEM: text) }
        var certificates: [Certificate] = []
        for bytes in orders.chain { certificates.append(try Certificate(decoding: bytes)) }
        return certificates
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
