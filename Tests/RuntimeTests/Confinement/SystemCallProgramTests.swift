import Glibc
import Platform
import RuntimeControl
import Testing

@testable import RuntimeConfinement

/// A worker takes its filter from its supervisor, and serves no TPM without one that the kernel takes.
@Suite struct SystemCallProgramTests {
    @Test(arguments: [0, 1, 7, 9, SystemCallProgram.maximumSize + 8]) func whatHasNoInstructionsIsNone(_ size: Int) {
        #expect(SystemCallProgram([UInt8](repeating: 0, count: size)) == nil)
    }

    @Test(arguments: [8, SystemCallProgram.maximumSize]) func wholeInstructionsAreOne(_ size: Int) {
        #expect(SystemCallProgram([UInt8](repeating: 0, count: size)) != nil)
    }

    static let refusals: [([UInt8], String)] = [
        ([], "cannot confine the worker: the supervisor sent no filter for it"),
        ([UInt8](repeating: 0, count: 9), "cannot confine the worker: the supervisor sent no filter for it"),
        // It does not end with a return.
        ([UInt8](repeating: 0, count: 8), "cannot restrict system calls: seccomp: Invalid argument"),
    ]

    @Test(arguments: refusals) func aWorkerWithoutAFilterEnds(_ filter: [UInt8], _ reason: String) throws {
        let worker = try WorkerUnderTest(underFilter: filter)
        let answer = try worker.receive()
        #expect(answer.kind == .failure)
        #expect(answer.failure == reason)
        #expect(try worker.worker.wait() == .exited(1))
    }
}
