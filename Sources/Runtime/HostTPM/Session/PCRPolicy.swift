import Crypto
import Platform
import RuntimePCR

extension TPMConnection {
    private static let digestsPerResponse = 8
    private static let readings = 10

    /// Returns the policy digest for the current values of the PCRs.
    ///
    /// The values are read in an audit session: its HMAC shows a value that was changed on the way.
    func policyDigest(of selection: PCRSelection, _ session: AuthSession) throws(Failure) -> [UInt8] {
        // The update counter tells whether a PCR changed between two responses (TPM 2.0 Library, Part 3,
        // TPM2_PCR_Read).
        for _ in 0..<Self.readings {
            var values: [UInt8] = []
            var counters: Set<UInt32> = []
            for bank in selection.banks {
                values += try read(bank, session, &counters)
            }
            if counters.count == 1 {
                return try Self.policyDigest(of: selection, values: values)
            }
        }
        throw failure(
            "the PCRs change again and again",
            hint: "try again, or leave out PCR 10 where IMA measures files"
        )
    }

    /// Computes the policy digest of a session after TPM2_PolicyPCR. Part 3, TPM2_PolicyPCR
    static func policyDigest(of selection: PCRSelection, values: [UInt8]) throws(Failure) -> [UInt8] {
        var data = ByteWriter()
        data.write([UInt8](repeating: 0, count: SHA256.digestSize))
        data.write(CommandCode.policyPCR.rawValue)
        data.write(selection.encoded)
        data.write(try SHA256.digest(values))
        return try SHA256.digest(data.bytes)
    }

    /// Reads the values of a bank's PCRs, concatenated, and adds the update counter of each response to `counters`.
    func read(
        _ bank: PCRSelection.Bank,
        _ session: AuthSession,
        _ counters: inout Set<UInt32>
    ) throws(Failure) -> [UInt8] {
        var values: [UInt8] = []
        var rest = bank
        while rest.mask != 0 {
            var asked = rest
            asked.mask = rest.pcrs.prefix(Self.digestsPerResponse).reduce(0) { $0 | 1 << UInt32($1) }
            var command = Command(.pcrRead)
            command.authorization = .session(session, .audit)
            command.parameters.write(PCRSelection(banks: [asked]).encoded)
            var response = try run(command)
            guard let counter = response.parameters.read(UInt32.self),
                let given = PCRSelection.readBank(&response.parameters),
                let count = response.parameters.read(UInt32.self)
            else { throw malformed(.pcrRead) }
            // A TPM omits PCRs that it does not have, and may return fewer than it was asked for.
            guard given.algorithm == bank.algorithm, given.mask & ~asked.mask == 0, given.pcrs.count == Int(count)
            else { throw malformed(.pcrRead) }
            guard let first = asked.pcrs.first, given.pcrs.first == first else {
                throw failure(
                    "the TPM has no PCRs in its bank \(bank.name)",
                    hint: "choose another bank: tpm2_getcap pcrs lists them"
                )
            }
            guard given.pcrs == Array(asked.pcrs.prefix(given.pcrs.count)) else { throw malformed(.pcrRead) }
            for _ in given.pcrs {
                guard let value = response.parameters.readSized(), value.count == bank.digestSize else {
                    throw malformed(.pcrRead)
                }
                values += value
            }
            guard response.parameters.remaining == 0 else { throw malformed(.pcrRead) }
            counters.insert(counter)
            rest.mask &= ~given.mask
        }
        return values
    }
}
