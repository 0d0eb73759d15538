import Foundation
import Glibc
import Platform
import RuntimeControl
import Testing

/// What an idle worker keeps of its program in memory.
@Suite struct WorkerMemoryTests {
    /// The pages of the worker's program that are in memory, in KiB. proc(5), `/proc/PID/smaps`
    private func programInMemory(of tpm: WorkerUnderTest) throws -> Int {
        let maps = try String(contentsOfFile: "/proc/\(tpm.worker.process)/smaps", encoding: .utf8)
        var isProgram = false
        var sum = 0
        for line in maps.split(separator: "\n") {
            let words = line.split(separator: " ")
            // The first line of a mapping begins with its addresses.
            if words[0].contains("-") { isProgram = words.last?.hasSuffix("/vtpm-worker") == true }
            if isProgram, words[0] == "Rss:" { sum += try #require(Int(words[1])) }
        }
        return sum
    }

    /// What only the start needed is given back, whether the idle TPM tests itself or a command has left nothing to test.
    @Test(arguments: [false, true]) func theCodeOfTheStartIsGivenBack(afterFullTest isTested: Bool) throws {
        let tpm = try WorkerUnderTest()
        try tpm.serve()
        if isTested { #expect(try tpm.transmit(SelfTestTests.fullTest) == SelfTestTests.success) }
        let before = try programInMemory(of: tpm)
        try #require(before > 0)
        try tpm.channel.send(WorkerRequest.registered(selfTestAfter: 100))
        let deadline = Deadline(milliseconds: 60_000)
        while try programInMemory(of: tpm) >= before {
            try #require(!deadline.hasPassed, "\(before) KiB")
            usleep(10_000)
        }
        #expect(try tpm.end() == .exited(0))
    }
}
