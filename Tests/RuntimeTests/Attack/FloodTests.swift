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
        // More than is answered while the neighbour is asked.
        let commands = (0..<2).flatMap { _ in [makeKey, CommandCorpus.flush(0x8000_0000).bytes] }

        var (alone, beside): ([Duration], [Duration]) = ([], [])
        for _ in 0..<Soak.count(10, soak: 200) {
            alone += try times(of: neighbour)
            for command in commands {
                try #require(send(flooder.device, command, command.count, 0) == command.count)
            }
            beside += try times(of: neighbour)
            // The flooder's worker had something to do until now.
            var answers = try answers(of: flooder, wait: false)
            try #require(answers < commands.count)
            while answers < commands.count { answers += try self.answers(of: flooder, wait: true) }
        }
        let ratios = (median: median(beside) / median(alone), mean: mean(beside) / mean(alone))
        print("a neighbour's command: \(median(alone)) alone, \(median(beside)) beside a flood; \(ratios)")
        if Soak.isOn { #expect(ratios.median < 2 && ratios.mean < 2) }
    }

    private func times(of tpm: VTPMUnderTest) throws -> [Duration] {
        try (0..<500).map { _ in
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
