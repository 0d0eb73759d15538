import Crypto
import Platform
import RuntimePCR

/// The key by which the host attests, in its TPM's memory.
///
/// Each answer has an HMAC, and each signature is checked: what stands between this host and its TPM can change nothing.
package struct LoadedAttestationKey {
    let link: TPMConnection
    let session: AuthSession
    let handle: UInt32
    let key: QuotingKey

    private static let attempts = 10
    /// The size of what a caller can have in an attestation, in bytes: a SHA-256.
    package static let extraDataSize = 32

    /// Quotes PCRs of one bank, and returns their values with it. TPM2_Quote, Part 3, 18.4
    package func quote(_ selection: PCRSelection, _ extraData: [UInt8]) throws(Failure) -> PCRQuote {
        guard let bank = selection.banks.first, selection.banks.count == 1 else {
            throw link.failure("PCRs of \(selection.banks.count) banks are selected", hint: "select those of one bank")
        }
        // A PCR can change in between.
        for _ in 0..<Self.attempts {
            var counters: Set<UInt32> = []
            let values = try link.values(of: bank, session, &counters)
            var command = Command(.quote)
            command.handles = [.init(handle, name: try key.name)]
            command.authorization = .session(session)
            command.parameters.write(sized: extraData)
            // The scheme is the key's own.
            command.parameters.write(Algorithm.null)
            command.parameters.write(selection.encoded)
            let signed = try attested(command, extraData)
            guard case .quote(let quoted, let digest) = signed.message.content, quoted.banks.first?.mask == bank.mask
            else {
                throw link.malformed(.quote)
            }
            if digest == (try SHA256.digest(values.flatMap { $0 })) {
                return PCRQuote(signed.attestation, selection, values: values)
            }
        }
        throw link.failure("the PCRs change again and again", hint: "leave out PCR 10 where IMA measures files")
    }

    /// Certifies the value of the counter at an index, which has to have this name. TPM2_NV_Certify, Part 3, 31.16
    package func certify(index: UInt32, named name: [UInt8], _ extraData: [UInt8]) throws(Failure) -> SignedAttestation
    {
        guard let area = try link.counterPublic(at: index), try entityName(ofPublicArea: area.encoded) == name else {
            throw link.failure(
                "the counter \(Handle.text(index)) is another than when the container was started",
                hint: "start it again"
            )
        }
        var command = Command(.nvCertify)
        let counter = Command.Entity(index, name: name)
        command.handles = [.init(handle, name: try key.name), counter, counter]
        command.authorization = .sessionAndPlain(session, second: Handle.passwordSession)
        command.parameters.write(sized: extraData)
        command.parameters.write(Algorithm.null)
        command.parameters.write(NVPublic.counterSize)
        command.parameters.write(UInt16(0))
        let signed = try attested(command, extraData)
        guard case .nv(name, 0, let contents) = signed.message.content,
            contents.count == Int(NVPublic.counterSize)
        else { throw link.malformed(.nvCertify) }
        return signed.attestation
    }

    private func attested(
        _ command: Command,
        _ extraData: [UInt8]
    ) throws(Failure) -> (attestation: SignedAttestation, message: AttestationMessage) {
        guard extraData.count == Self.extraDataSize else {
            throw link.failure("what is to be signed has \(extraData.count) bytes, not \(Self.extraDataSize)")
        }
        guard let attestation = SignedAttestation(try link.run(command)),
            let message = attestation.content(signedBy: key), message.extraData == extraData
        else { throw link.malformed(command.code) }
        return (attestation, message)
    }
}

extension TPMConnection {
    /// The values of a bank's PCRs, one by one.
    fileprivate func values(
        of bank: PCRSelection.Bank,
        _ session: AuthSession,
        _ counters: inout Set<UInt32>
    ) throws(Failure) -> [[UInt8]] {
        let value = session.authorizationValue
        // The session authorizes nothing here: it only shows what was changed on the way. Part 1, 19.6.5
        session.authorizationValue = nil
        defer { session.authorizationValue = value }
        let all = try read(bank, session, &counters)
        return stride(from: 0, to: all.count, by: bank.digestSize).map { Array(all[$0..<$0 + bank.digestSize]) }
    }
}
