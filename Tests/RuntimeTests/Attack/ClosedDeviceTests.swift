import CLinux
import Glibc
import Platform
import RuntimeControl
import Testing

@testable import RuntimeHostTPM

/// A device that the kernel gives up while the container lives: nobody serves it any more, and nobody spins on it.
@Suite struct ClosedDeviceTests {
    let temporary: TemporaryDirectory

    init() throws {
        temporary = try TemporaryDirectory()
    }

    @Test(arguments: [true, false])
    func isGivenUp(inTheMiddleOfACommand: Bool) throws {
        let tpm = try VTPMUnderTest(in: temporary)
        try tpm.create()
        let worker = try ProcessHandle(tpm.worker)
        let key = try tpm.endorsementKey()
        if inTheMiddleOfACommand {
            let makeKey = CommandCorpus.createPrimary(Handle.null, Templates.rsa).bytes
            for _ in 0..<3 { try #require(send(tpm.device, makeKey, makeKey.count, 0) == makeKey.count) }
        }
        shutdown(tpm.device, CInt(SHUT_RDWR))
        let end = Deadline(milliseconds: 60_000)
        while try tpm.status().health == .serving {
            try #require(!end.hasPassed)
            poll(nil, 0, 20)
        }
        #expect(try !worker.isAlive())
        let before = try processorTime(of: tpm.supervisor.process)
        poll(nil, 0, 1000)
        // Two questions in that time, and nothing else; who spins takes all the time there is.
        #expect(try tpm.status().health == .failed)
        #expect(try processorTime(of: tpm.supervisor.process) - before < 10)
        #expect(try tpm.stop() == .exited(0))
        let again = try VTPMUnderTest(in: temporary)
        try again.create()
        #expect(try again.endorsementKey() == key)
        try again.stop()
    }

    /// User and system time in ticks of 10 ms. proc(5), `/proc/PID/stat`, fields 14 and 15
    private func processorTime(of process: pid_t) throws -> Int {
        let path = "/proc/\(process)/stat"
        let text = String(decoding: try Descriptor.open(path, .read).readAll(limit: 4096, path), as: UTF8.self)
        let fields = text[(text.lastIndex(of: ")") ?? text.startIndex)...].split(separator: " ")
        return try #require(Int(fields[12])) + #require(Int(fields[13]))
    }
}
