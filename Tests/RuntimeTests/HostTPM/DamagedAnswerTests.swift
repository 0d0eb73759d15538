import Platform
import RuntimePCR
import TestSupport
import Testing

@testable import RuntimeHostTPM

/// Answers that no TPM gives: all are refused, and none ends the process.
@Suite struct DamagedAnswerTests {
    /// Test fixture: answers anything.
    final class RandomTPM: TPMTransport {
        var generator: SeededGenerator
        private(set) var answers = 0

        init(seed: UInt64) { generator = SeededGenerator(seed: seed) }

        func transmit(_ command: [UInt8]) throws(Failure) -> [UInt8] {
            answers += 1
            let count = Int.random(in: 0...300, using: &generator)
            var body = (0..<count).map { _ in UInt8.random(in: 0...255, using: &generator) }
            // Sizes that are nearly right get further.
            for _ in 0..<Int.random(in: 0...4, using: &generator) where body.count > 2 {
                let position = Int.random(in: 0..<body.count - 1, using: &generator)
                body[position] = 0
                body[position + 1] = UInt8(truncatingIfNeeded: body.count - position - 2)
            }
            let tag: UInt16 = Bool.random(using: &generator) ? 0x8001 : 0x8002
            switch Int.random(in: 0..<10, using: &generator) {
            case 0: return body
            case 1: return makeAnswer(tag: tag, code: UInt32.random(in: 0..<0x1000, using: &generator), body)
            case 2: return makeAnswer(tag: tag, code: 0x18b)
            default: return makeAnswer(tag: tag, body)
            }
        }
    }

    @Test func nothingTraps() throws {
        let random = RandomTPM(seed: 11)
        let host = HostTPM(transport: random) { _ in }
        let key = try StorageKey.parse(StorageKey.template, at: 0x8100_0001)
        let policy = [UInt8](repeating: 3, count: 32)
        let sealed = SealedSecret(key: key, pcrs: .standard, policy: policy, publicArea: [], privateArea: [])
        let counter = CounterIdentity(index: 0x0180_0001, name: key.name, key: key)
        for _ in 0..<2000 {
            #expect(throws: Failure.self) { try host.seal(makeSecret(), pcrs: .standard) }
            #expect(throws: Failure.self) { try host.unseal(sealed) }
            #expect(throws: Failure.self) { try host.defineCounter(0x0180_0001) }
            #expect(throws: Failure.self) { try host.readCounter(counter) }
            #expect(throws: Failure.self) { try host.incrementCounter(counter) }
            #expect(throws: Failure.self) { try host.undefineCounter(0x0180_0001) }
            _ = try? host.counterExists(0x0180_0001)
        }
        #expect(random.answers > 10_000)
    }

    @Test func publicAreasAreParsedOrRefused() throws {
        var generator = SeededGenerator(seed: 12)
        for template in [StorageKey.template, Templates.rsa, Templates.signing] {
            for count in 0..<template.count {
                #expect(throws: (any Error).self) { try StorageKey.parse(Array(template[..<count]), at: 0) }
            }
            for _ in 0..<3000 {
                var bytes = template
                for _ in 0..<Int.random(in: 1...3, using: &generator) {
                    bytes[Int.random(in: 0..<bytes.count, using: &generator)] = .random(in: 0...255, using: &generator)
                }
                _ = try? StorageKey.parse(bytes, at: 0)
            }
        }
    }

    /// A real TPM's answers, one of which is damaged each time.
    @Test func aDamagedAnswerIsRefused() throws {
        let temporary = try TemporaryDirectory()
        let tpm = try SoftwareTPM(in: "\(temporary.path)/tpm")
        let interposer = Interposer(before: tpm)
        let host = HostTPM(transport: interposer) { _ in }
        let sealed = try host.seal(makeSecret(), pcrs: .standard)
        let counter = try host.defineCounter(0x0180_0001)
        var value = try host.readCounter(counter)
        var generator = SeededGenerator(seed: 13)
        var refused = 0
        for round in 0..<600 {
            var left = Int.random(in: 0..<8, using: &generator)
            interposer.change = { _, answer in
                left -= 1
                guard left == -1 else { return answer }
                var answer = answer
                switch Int.random(in: 0..<4, using: &generator) {
                case 0: answer.removeLast(Int.random(in: 1...answer.count, using: &generator))
                case 1: answer += (0..<Int.random(in: 1...40, using: &generator)).map { UInt8($0) }
                default:
                    answer[Int.random(in: 0..<answer.count, using: &generator)] = .random(
                        in: 0...255,
                        using: &generator
                    )
                }
                // The header's size fits, so that what follows it is looked at.
                guard answer.count >= 10 else { return answer }
                return Array(answer[..<2]) + [0, 0, UInt8(answer.count >> 8), UInt8(answer.count & 0xff)] + answer[6...]
            }
            do {
                switch round % 3 {
                case 0:
                    let secret = try host.unseal(sealed)
                    #expect(contents(secret) == plaintext)
                case 1:
                    let read = try host.readCounter(counter)
                    #expect(read == value)
                default: _ = try host.seal(makeSecret(), pcrs: .standard)
                }
            } catch is Failure {
                refused += 1
            }
            interposer.change = nil
            try tpm.flushAll()
            if round % 50 == 0 { value = try host.incrementCounter(counter) }
        }
        #expect(refused > 300)
        #expect(try contents(host.unseal(sealed)) == plaintext)
    }
}
