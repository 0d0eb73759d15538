import CryptoCertificates
import Glibc
import Platform
import RuntimeControl
import RuntimeEndorsement
import VTPMProxy

@testable import Authority

/// What the certificate authority hears from a supervisor, and so from a TPM that somebody may have taken over: the first byte
/// says whether the TPM is new, then a list of messages follows, the first byte of each being its kind.
///
/// Each message is read as an order and as a record as well.
func fuzzAuthority(_ bytes: UnsafeRawBufferPointer) {
    guard let first = bytes.first else { return }
    let messages = Array(Records(bytes.dropFirst()).prefix(64)).map(\.bytes)
    for message in messages { decode(Array(message.dropFirst())) }
    let pair = must { () throws(Failure) in try Channel.pair(near: "supervisor", far: "authority") }
    sendAsIs(messages, 0, to: pair.near)
    // The sender has said all: nobody waits for more.
    shutdown(pair.near.descriptor.number, CInt(SHUT_WR))
    let supervisor = SupervisorLink(pair.far)
    let orders = EndorsementOrders(
        level: .certificates,
        keys: .standard,
        containerID: "web",
        bundle: "/bundle",
        image: "",
        stateID: "web",
        time: 1,
        chain: [authority.certificate.encoded]
    )
    _ = accepted { () throws(Failure) in
        let endorser = Endorser(
            orders: orders,
            instance: [UInt8](repeating: 7, count: 16),
            isNew: first & 1 == 0,
            library: LibraryVersion(0, 9, 2),
            former: messages.lazy.compactMap { EndorsementRecord(decoding: Array($0.dropFirst())) }.first,
            authority: authority,
            supervisor: supervisor
        )
        let record = try endorser.endorse()
        require(EndorsementRecord(decoding: record.encoded) == record, "a record does not come back as it was")
    }
}

private nonisolated(unsafe) let authority = must { () throws(Failure) in
    let key = try SigningKey.generate()
    let certificate = try AuthorityCertificate.make(for: key, at: 1)
    return CertifyingKey(.here(key), certificate: try Certificate(decoding: certificate))
}

private func decode(_ body: [UInt8]) {
    if let record = EndorsementRecord(decoding: body) {
        require(EndorsementRecord(decoding: record.encoded) == record, "a record does not come back as it was")
    }
    _ = accepted { () throws(Failure) in _ = try Certificate(decoding: body).publicKey }
}
