import Glibc
import Platform
import RuntimeControl
import TestSupport
import Testing

// What an audit by a session, or by the list of audited commands, sees of the self-test.
extension SelfTestTests {
    /// TPM2_StartAuthSession: neither salted nor bound, an HMAC session.
    static let startSession: [UInt8] =
        [0x80, 0x01, 0, 0, 0, 43, 0, 0, 0x01, 0x76, 0x40, 0, 0, 7, 0x40, 0, 0, 7]
        + [0, 16] + [UInt8](repeating: 5, count: 16) + [0, 0, 0, 0, 0x10, 0, 0x0b]

    /// TPM2_GetRandom with an audit session; without a secret its HMAC is empty.
    private func auditedRandom(_ session: [UInt8]) -> [UInt8] {
        [0x80, 0x02, 0, 0, 0, 25, 0, 0, 0x01, 0x7b, 0, 0, 0, 9] + session + [0, 0, 0x81, 0, 0] + [0, 8]
    }

    /// The attribute auditExclusive says that nothing else was executed since the session has begun.
    @Test func anAuditSessionStaysExclusive() throws {
        let tpm = try start("hold", "2")
        let answer = try transmit(Self.startSession, duringTestOf: tpm)
        try #require(answer.prefix(10).suffix(4) == [0, 0, 0, 0])
        let session = Array(answer[10..<14])
        for use in 0..<3 {
            let command = auditedRandom(session)
            let random = try use == 0 ? transmit(command, duringTestOf: tpm) : tpm.transmit(command)
            try #require(random.prefix(10).suffix(4) == [0, 0, 0, 0], "\(random)")
            // At the end: attributes, and an HMAC that is empty.
            #expect(random.suffix(3) == [0x83, 0, 0])
            // A wrong worker goes on with its tests in this time; a right one has none left.
            usleep(20_000)
        }
        let record = try recordOfTests(of: tpm)
        #expect(record.suffix(3).allSatisfy { $0 == .command(0x17b) })
        #expect(record.dropLast(3).filter { !$0.isTest } == [.command(0x176)], "\(record)")
        #expect(try tpm.end() == .exited(0))
    }

    /// A TPM whose owner has TPM2_IncrementalSelfTest audited executes none that nobody has sent.
    @Test func whatIsAuditedIsNotExecutedUnasked() throws {
        let audit: [UInt8] =
            [0x80, 0x02, 0, 0, 0, 41, 0, 0, 0x01, 0x40, 0x40, 0, 0, 1]
            + [0, 0, 0, 9, 0x40, 0, 0, 9, 0, 0, 0, 0, 0]
            + [0, 0x10, 0, 0, 0, 1, 0, 0, 0x01, 0x42, 0, 0, 0, 0]
        let tpm = try start("hold", "1")
        #expect(try transmit(audit, duringTestOf: tpm).prefix(10).suffix(4) == [0, 0, 0, 0])
        let record = try recordOfTests(of: tpm)
        #expect(record.last == .command(0x140) && record.dropLast().allSatisfy { $0.isTest })
        #expect(record.count > 10, "\(record)")
        try tpm.channel.send(WorkerRequest.shutdown)
        try #require(try tpm.hear() == .stopped)

        let next = try start(state: tpm.state, registered: false)
        #expect(try next.transmit(Self.selfTest) == Self.success)
        try next.channel.send(WorkerRequest.registered(selfTestAfter: 100))
        #expect(try next.transmit(Self.getTestResult) == Self.testResult(0, 0))
        let later = try self.record(of: next)
        #expect(later.contains(.command(0x143)) && later.allSatisfy { !$0.isTest }, "\(later)")
        #expect(try next.end() == .exited(0))
    }
}
