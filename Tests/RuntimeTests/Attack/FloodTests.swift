import Glibc
import Platform
import Testing

@testable import RuntimeHostTPM

/// What a tenant that never lets its TPM rest costs its neighbours.
@Suite(.serialized) struct FloodTests {
    let temporary: TemporaryDirectory

    init() throws {
        temporary = try TemporaryDirectory()
    }

    /// Keys are made in one TPM without a pause while another is asked.
    ///
    /// Both kinds of moments alternate, many times, so that whatever else the machine does falls on both alike. What is
    /// compared is their medians, and their means, in which a rare long wait counts. Beside other tests there may be no
    /// core left for a third process, so that the ratio counts in a soak run alone, where this suite runs by itself.
    @Test func aNeighbourHardlyWaits() throws {
        let flooder = try VTPMUnderTest(in: temporary, stateID: "flooder")
        try flooder.create()
        let neighbour = try VTPMUnderTest(in: temporary, stateID: "neighbour")
        try neighbour.create()
        let makeKey = CommandCorpus.createPrimary(Handle.null, Templates.rsa).bytes
        let pair = [makeKey, CommandCorpus.flush(0x8000_0000).bytes]
        var pending = 0
        /// Gives it more before it has answered all.
        func keepBusy() throws {
            pending -= try answers(of: flooder, wait: false)
            while pending < 2 * pair.count {
                for command in pair {
                    try #require(send(flooder.device, command, command.count, 0) == command.count)
                }
                pending += pair.count
            }
        }

        var (alone, beside): ([Duration], [Duration]) = ([], [])
        var answered = 0
        for _ in 0..<Soak.count(10, soak: 200) {
            alone += try times(of: neighbour)
            beside += try times(of: neighbour, while: keepBusy)
            answered += pending
            while pending > 0 { pending -= try answers(of: flooder, wait: true) }
        }
        // It was busy to the end of each round.
        #expect(answered > 0)
        let ratios = (median: median(beside) / median(alone), mean: mean(beside) / mean(alone))
        print("a neighbour's command: \(median(alone)) alone, \(median(beside)) beside a flood; \(ratios)")
        if Soak.isOn { #expect(ratios.median < 2 && ratios.mean < 2) }
    }

    private func times(of tpm: VTPMUnderTest, while prepare: () throws -> Void = {}) throws -> [Duration] {
        try (0..<500).map { _ in
            try prepare()
            let start = ContinuousClock.now
            try #require(TPMAnswer(bytes: tpm.transmit(getRandom)).code == 0)
            return start.duration(to: .now)
        }
    }

    private func mean(_ times: [Duration]) -> Duration { times.reduce(.zero, +) / times.count }

    private func median(_ times: [Duration]) -> Duration { times.sorted()[times.count / 2] }

    /// Takes the answers that are there, or waits for the next one; returns how many.
    private func answers(of tpm: VTPMUnderTest, wait: Bool) throws -> Int {
        var count = 0
        var answer = [UInt8](repeating: 0, count: 4096)
        while true {
            let flags = wait && count == 0 ? 0 : CInt(MSG_DONTWAIT)
            let size = recv(tpm.device, &answer, answer.count, flags)
            guard size > 0 else { return count }
            try #require(TPMAnswer(bytes: Array(answer[..<size])).code == 0)
            count += 1
        }
    }
}
