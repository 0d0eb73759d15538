import Crypto
import Platform
import RuntimePCR
import TestSupport
import Testing

@testable import RuntimeHostTPM

@Suite struct SealedSecretTests {
    let sealed: SealedSecret
    let encoded: [UInt8]

    init() throws {
        let key = try StorageKey.parse(StorageKey.template, at: 0x8100_0001)
        let policy = [UInt8](repeating: 3, count: 32)
        let unique = [0, 32] + [UInt8](repeating: 4, count: 32)
        let area: [UInt8] = Array(SealedSecret.template(policy: policy).dropLast(2)) + unique
        sealed = SealedSecret(
            key: key,
            pcrs: .standard,
            policy: policy,
            publicArea: area,
            privateArea: [UInt8](repeating: 5, count: 200)
        )
        encoded = try sealed.encoded
    }

    func refusal(_ bytes: [UInt8]) -> String {
        let error = #expect(throws: Failure.self) { try SealedSecret(decoding: bytes, path: "/keys/sealed") }
        return error?.description ?? ""
    }

    /// The bytes with a check that fits, as somebody can write them.
    func checked(_ bytes: [UInt8]) throws -> [UInt8] { try bytes + SHA256.digest(bytes) }

    @Test func isReadAsItWasWritten() throws {
        #expect(try SealedSecret(decoding: encoded, path: "") == sealed)
        // As the format is described.
        #expect(
            encoded.starts(
                with: Array("CVTPMSK\n".utf8) + [0, 1, 0, 0, UInt8(encoded.count >> 8), UInt8(encoded.count & 0xff)]
            )
        )
        #expect(encoded[14..<20].elementsEqual([0x81, 0, 0, 1, 0, 34]))
        #expect(encoded[54..<58].elementsEqual([0, 0, 0, 15]))
        #expect(String(decoding: encoded[58..<73], as: UTF8.self) == "sha256:0-4,6-14")
        #expect(encoded[73..<75].elementsEqual([0, 32]))
        #expect(encoded[107..<109].elementsEqual([0, 78]))
        #expect(encoded[187..<189].elementsEqual([0, 200]))
        #expect(encoded.count == 189 + 200 + 32)
    }

    @Test func aPartOfItIsRefused() {
        for count in 0..<encoded.count {
            #expect(
                refusal(Array(encoded[..<count]))
                    == "cannot load the sealed secret /keys/sealed: it is truncated (restore the file from a backup)"
            )
        }
        #expect(refusal(encoded + [0]).contains("it is damaged"))
    }

    @Test func eachChangedBitIsRefused() {
        for position in encoded.indices {
            for bit in 0..<8 {
                var bytes = encoded
                bytes[position] ^= 1 << bit
                let text = refusal(bytes)
                switch position {
                case 0..<8: #expect(text.contains("it is not a sealed secret"))
                case 8..<10: #expect(text.contains("newer than this version's 1") || text.contains("it is damaged"))
                case 10..<14: #expect(text.contains("it is truncated") || text.contains("it is damaged"))
                default: #expect(text.contains("it is damaged"))
                }
            }
        }
    }

    @Test func aNewerVersionIsToldApart() {
        var bytes = encoded
        bytes[9] = 2
        #expect(refusal(bytes).hasSuffix("it has format 2, newer than this version's 1 (upgrade)"))
    }

    @Test func aCheckThatFitsIsNotEnough() throws {
        let body = Array(encoded.dropLast(32))
        var generator = SeededGenerator(seed: 5)
        for position in 14..<body.count {
            var bytes = body
            bytes[position] = UInt8.random(in: 0...255, using: &generator)
            // It is refused or read, and does not trap; what says which object it is must fit together.
            let read = try? SealedSecret(decoding: checked(bytes), path: "")
            if (75..<107).contains(position), bytes != body { #expect(read == nil, "policy") }
            if (109..<155).contains(position), bytes != body { #expect(read == nil, "public area") }
        }
        // A userWithAuth that is set, for instance.
        var bytes = body
        bytes[109 + 7] |= 0x40
        #expect(try refusal(checked(bytes)).contains("it is damaged"))
    }
}
