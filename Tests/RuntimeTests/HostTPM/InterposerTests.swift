import Platform
import Testing

@testable import RuntimeHostTPM
@testable import RuntimePCR

@Suite struct InterposerTests {
    let temporary: TemporaryDirectory
    let tpm: SoftwareTPM
    let interposer: Interposer
    let host: HostTPM

    init() throws {
        temporary = try TemporaryDirectory()
        tpm = try SoftwareTPM(in: "\(temporary.path)/tpm")
        interposer = Interposer(before: tpm)
        host = HostTPM(transport: interposer)
    }

    func refusal(_ body: () throws -> Void) -> String {
        let error = #expect(throws: Failure.self) { try body() }
        return error?.why ?? ""
    }

    /// The answer to TPM2_ReadPublic with another TPM's public area, and the names that belong here.
    func exchangePublicArea() throws {
        let other = try SoftwareTPM(in: "\(temporary.path)/other")
        try HostTPM(transport: other).makeStorageKey(from: StorageKey.template)
        let answer = try other.send(0x173, handles: [0x8100_0001], isAuthorized: false) { _ in }
        let area = try firstSized(of: answer)
        interposer.change = { code, answer in
            guard code == 0x173 else { return answer }
            // Both have the same size.
            return Array(answer[..<12]) + area + answer[(12 + area.count)...]
        }
    }

    @Test func anotherPublicKeyIsRefused() throws {
        let sealed = try host.seal(makeSecret(), pcrs: .standard)
        let counter = try host.defineCounter(0x0180_0001)
        try exchangePublicArea()
        #expect(refusal { _ = try host.unseal(sealed) }.contains("is another than before"))
        #expect(refusal { _ = try host.readCounter(counter) }.contains("is another than before"))
        #expect(refusal { _ = try host.incrementCounter(counter) }.contains("is another than before"))
        #expect(interposer.lastAnswer(to: .load) == nil)
    }

    @Test func anotherPublicKeyGetsNoSecret() throws {
        try host.makeStorageKey(from: StorageKey.template)
        try exchangePublicArea()
        // Nothing is known of this TPM yet. But the TPM behind does not learn the session's secret, and cannot answer.
        #expect(refusal { _ = try host.seal(makeSecret(), pcrs: .standard) }.contains("TPM2_PCR_Read: TPM_RC_"))
        #expect(interposer.lastAnswer(to: .create) == nil)
        #expect(try tpm.temporaryHandles() == [])
    }

    @Test func aPointOffTheCurveIsRefused() throws {
        try host.makeStorageKey(from: StorageKey.template)
        interposer.change = { code, answer in
            guard code == 0x173 else { return answer }
            var answer = answer
            answer[60] ^= 1
            return answer
        }
        let error = #expect(throws: Failure.self) { try host.seal(makeSecret(), pcrs: .standard) }
        #expect(error?.what == "cannot use the TPM's storage key")
    }

    @Test func noByteOfAnUnsealedSecretCanBeChanged() throws {
        let sealed = try host.seal(makeSecret(), pcrs: .standard)
        _ = try host.unseal(sealed)
        let size = try #require(interposer.lastAnswer(to: .unseal)).count
        #expect(size == 10 + 4 + 2 + plaintext.count + 2 + 32 + 1 + 2 + 32)
        for position in 0..<size {
            for bit: UInt8 in [0x01, 0x80] {
                interposer.change = { code, answer in
                    guard code == CommandCode.unseal.rawValue else { return answer }
                    var answer = answer
                    answer[position] ^= bit
                    return answer
                }
                let why = refusal { _ = try host.unseal(sealed) }
                #expect(why.hasPrefix("TPM2_Unseal: "))
                if position >= 16, position < 16 + plaintext.count {
                    #expect(why.contains("the answer's HMAC is wrong"))
                }
            }
        }
        #expect(try tpm.temporaryHandles() == [])
    }

    @Test func noChangedAnswerGivesAnotherSecret() throws {
        let sealed = try host.seal(makeSecret(), pcrs: .standard)
        let start = interposer.traffic.count
        _ = try host.unseal(sealed)
        let answers = stride(from: start + 1, to: interposer.traffic.count, by: 2).map { interposer.traffic[$0].count }
        #expect(answers.count == 8)
        var refused = 0
        for (number, size) in answers.enumerated() {
            for position in 0..<size {
                var seen = 0
                interposer.change = { _, answer in
                    defer { seen += 1 }
                    guard seen == number else { return answer }
                    var answer = answer
                    answer[position] ^= 0x10
                    return answer
                }
                do {
                    // An answer that nothing depends on, such as that to a flush, may be changed.
                    let secret = try host.unseal(sealed)
                    #expect(contents(secret) == plaintext)
                } catch {
                    refused += 1
                }
                interposer.change = nil
                try tpm.flushAll()
            }
        }
        #expect(refused > 300)
    }

    @Test func anAnswerWithoutSessionIsRefused() throws {
        let sealed = try host.seal(makeSecret(), pcrs: .standard)
        let counter = try host.defineCounter(0x0180_0001)
        interposer.change = { code, answer in
            switch code {
            // As if no session had been asked for: what would be the HMAC's place is not there.
            case CommandCode.nvRead.rawValue: makeAnswer([0, 8, 0, 0, 0, 0, 0, 0, 0, 1])
            case CommandCode.unseal.rawValue: makeAnswer([0, 32] + [UInt8](repeating: 1, count: 32))
            default: answer
            }
        }
        let notATPM = "the answer is not one of a TPM 2.0"
        #expect(refusal { _ = try host.readCounter(counter) } == "TPM2_NV_Read: \(notATPM)")
        #expect(refusal { _ = try host.unseal(sealed) } == "TPM2_Unseal: \(notATPM)")
        #expect(try tpm.temporaryHandles() == [])
    }

    @Test func anOldAnswerIsRefused() throws {
        let sealed = try host.seal(makeSecret(), pcrs: .standard)
        let counter = try host.defineCounter(0x0180_0001)
        _ = try host.unseal(sealed)
        let value = try host.incrementCounter(counter)
        let old = [CommandCode.unseal, .nvRead, .nvIncrement].map { ($0.rawValue, interposer.lastAnswer(to: $0)) }
        for (code, answer) in old { #expect(answer != nil, "\(code)") }
        interposer.answer = { code in old.first { $0.0 == code }?.1 }
        #expect(refusal { _ = try host.readCounter(counter) }.contains("TPM2_NV_Read: the answer's HMAC is wrong"))
        #expect(refusal { _ = try host.unseal(sealed) }.contains("TPM2_Unseal: the answer's HMAC is wrong"))
        #expect(
            refusal { _ = try host.incrementCounter(counter) }
                .contains("TPM2_NV_Increment: the answer's HMAC is wrong")
        )
        interposer.answer = nil
        #expect(try host.readCounter(counter) == value)
        #expect(try tpm.temporaryHandles() == [])
    }

    @Test func noByteOfACountersValueCanBeChanged() throws {
        let counter = try host.defineCounter(0x0180_0001)
        let value = try host.readCounter(counter)
        let size = try #require(interposer.lastAnswer(to: .nvRead)).count
        for position in 0..<size {
            interposer.change = { code, answer in
                guard code == CommandCode.nvRead.rawValue else { return answer }
                var answer = answer
                answer[position] ^= 1
                return answer
            }
            #expect(refusal { _ = try host.readCounter(counter) }.hasPrefix("TPM2_NV_Read: "))
        }
        interposer.change = nil
        #expect(try host.readCounter(counter) == value)
    }

    @Test func forgedPCRsAreNotSealedTo() throws {
        try host.makeStorageKey(from: StorageKey.template)
        interposer.change = { code, answer in
            guard code == CommandCode.pcrRead.rawValue else { return answer }
            var answer = answer
            // In the first digest: after header, parameter size, counter, selection, count, size.
            answer[10 + 4 + 4 + 10 + 4 + 2] ^= 1
            return answer
        }
        #expect(
            refusal { _ = try host.seal(makeSecret(), pcrs: .standard) }
                .contains("TPM2_PCR_Read: the answer's HMAC is wrong")
        )
    }

    @Test func anAnswerOfTheSameSessionIsRefused() throws {
        try host.makeStorageKey(from: StorageKey.template)
        var first: [UInt8]?
        interposer.change = { code, answer in
            guard code == CommandCode.pcrRead.rawValue else { return answer }
            if first == nil { first = answer }
            return first ?? answer
        }
        #expect(
            refusal { _ = try host.seal(makeSecret(), pcrs: PCRSelection(parsing: "sha256:0+sha1:0")) }
                .contains("TPM2_PCR_Read: the answer's HMAC is wrong")
        )
    }

    @Test func aBusyTPMIsAskedAgain() throws {
        var pauses: [Int] = []
        let patient = HostTPM(transport: interposer) { pauses.append($0) }
        for code: UInt32 in [0x908, 0x90a, 0x920, 0x922] {
            var refusals = 0
            interposer.answer = { _ in
                refusals = (refusals + 1) % 4
                return refusals == 0 ? nil : makeAnswer(code: code)
            }
            #expect(try contents(patient.unseal(patient.seal(makeSecret(), pcrs: .standard))) == plaintext)
        }
        #expect(pauses.prefix(6) == [40, 80, 160, 40, 80, 160])
        pauses = []
        interposer.answer = { _ in makeAnswer(code: 0x922) }
        #expect(refusal { _ = try patient.counterExists(0x0180_0001) } == "TPM2_NV_ReadPublic: TPM_RC_RETRY (0x922)")
        #expect(pauses.count == TPMConnection.tries - 1)
        #expect(pauses == pauses.sorted() && pauses.max() == 1000 && (5000...60_000).contains(pauses.reduce(0, +)))
        interposer.answer = nil
        #expect(try tpm.temporaryHandles() == [])
    }
}
