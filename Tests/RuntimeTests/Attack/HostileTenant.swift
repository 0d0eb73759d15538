import Platform
import Testing

@testable import RuntimeHostTPM

/// A tenant that sends fuzzed commands to a real vTPM, and keeps the TPM in a state in which they mean something.
///
/// Fuzzed commands fill the few places for objects and sessions, set passwords, disable hierarchies. So every few hundred
/// commands the tenant begins anew, as only the owner of the lockout authorization can: TPM2_Clear.
struct HostileTenant {
    private(set) var tpm: VTPMUnderTest
    private(set) var corpus: CommandCorpus?
    private(set) var sent = 0
    private(set) var succeeded = 0
    /// How often each response code came.
    private(set) var codes: [UInt32: Int] = [:]
    /// What the processes of the present vTPM had once it was warm.
    private(set) var warm: (worker: ProcessUsage, supervisor: ProcessUsage)?
    /// How many vTPMs were used up.
    private(set) var usedUp = 0
    /// The valid commands that did not succeed yet.
    private var untried: Set<String>?
    private var seed: UInt64
    /// The newest commands, for a report.
    private var recent: [[UInt8]] = []
    private let startNext: () throws -> VTPMUnderTest
    private var sentToPresent = 0

    private static let round = 400
    /// Until then libtpms, malloc and the stack may take what they need at most.
    private static let warmth = 2000

    init(_ startNext: @escaping () throws -> VTPMUnderTest, seed: UInt64) throws {
        self.tpm = try startNext()
        self.startNext = startNext
        self.seed = seed
    }

    var neverSucceeded: [String] { (untried ?? []).sorted() }

    var summary: String {
        let often = codes.sorted { $0.value > $1.value }.prefix(8)
            .map { "0x\(String($0.key, radix: 16)) \($0.value)" }.joined(separator: ", ")
        return
            "\(sent) to \(usedUp + 1) vTPMs, of which \(succeeded) succeeded, \(codes.count) response codes: \(often)"
    }

    /// Sends so many, and looks at each answer.
    mutating func send(_ count: Int) throws {
        let end = sent + count
        while sent < end {
            try examine()
            if try !clear() {
                #expect(try tpm.stop() == .exited(0))
                (tpm, usedUp, sentToPresent, warm) = (try startNext(), usedUp + 1, 0, nil)
            }
            try beginAnew()
            guard let corpus else { return }
            if untried == nil { untried = Set(corpus.seeds.filter { !$0.isTemplateOnly }.map(\.name)) }
            seed &+= 1
            var fuzzed = FuzzedCommands(seed: seed &* 0x1_0000_0001, corpus: corpus)
            for _ in 0..<min(Self.round, end - sent) {
                let (bytes, name) = fuzzed.next()
                let answer = TPMAnswer(bytes: try exchange(bytes))
                if answer.code == 0, let name { untried?.remove(name) }
                // No room for objects, sessions, or handles of sessions.
                if [0x902, 0x903, 0x905].contains(answer.code) { try flushExtras() }
            }
        }
    }

    private mutating func exchange(_ bytes: [UInt8]) throws -> [UInt8] {
        recent = recent.suffix(7) + [bytes]
        let answer = TPMAnswer(bytes: try tpm.transmit(bytes))
        sent += 1
        sentToPresent += 1
        codes[answer.code, default: 0] += 1
        if answer.code == 0 { succeeded += 1 }
        // What the kernel passes on to the tenant: a header, and a size field that tells how many bytes there are.
        let size = answer.bytes.dropFirst(2).prefix(4).reduce(0) { $0 << 8 | Int($1) }
        try #require(answer.bytes.count >= 10 && size == answer.bytes.count, "\(hex(answer.bytes)) to\(history)")
        // TPM_RC_FAILURE says that libtpms has given up, or that it is gone: every later answer would prove nothing.
        try #require(answer.code != 0x101, "the TPM failed after \(sent) commands, \(Soak.hint), with\(history)")
        return answer.bytes
    }

    private var history: String { recent.map { "\n  \(hex($0))" }.joined() }

    // MARK: - What the vTPM is meanwhile

    /// Compares what worker and supervisor have of the host with what they had.
    mutating func examine() throws {
        guard sentToPresent >= Self.warmth else { return }
        let worker = try ProcessUsage(of: tpm.worker)
        let supervisor = try ProcessUsage(of: tpm.supervisor.process)
        guard let warm else { return self.warm = (worker, supervisor) }
        let times = "before \(warm), after \((worker, supervisor)), \(summary)"
        try #require(worker.memory < warm.worker.memory + 2048, "the worker's memory grows: \(times)")
        try #require(supervisor.memory < warm.supervisor.memory + 1024, "the supervisor's memory grows: \(times)")
        try #require(worker.descriptors == warm.worker.descriptors, "\(times)")
        try #require(supervisor.descriptors == warm.supervisor.descriptors, "\(times)")
        try #require(worker.threads == 1 && supervisor.threads == 1, "\(times)")
    }

    // MARK: - Order

    /// Clears the TPM, where the tenant still may.
    private func clear() throws -> Bool {
        let clear = TPMRequest(0x126, [Handle.lockout], isAuthorized: true)
        return TPMAnswer(bytes: try tpm.transmit(clear.bytes)).code == 0
    }

    /// Makes what the corpus needs in a TPM that was cleared.
    mutating func beginAnew() throws {
        try makeRoom()
        try #require(try clear())
        corpus = try CommandCorpus(for: tpm.transmit)
    }

    /// Flushes all objects and sessions but those of the corpus.
    func flushExtras() throws {
        try flush(but: [
            CommandCorpus.parent, CommandCorpus.signer, CommandCorpus.hmacSession, CommandCorpus.policySession,
        ])
    }

    /// Flushes all objects and sessions.
    func makeRoom() throws { try flush(but: []) }

    private func flush(but kept: [UInt32]) throws {
        for first: UInt32 in [0x8000_0000, 0x0200_0000, 0x0300_0000] {
            let answer = try succeed(CommandCorpus.list(first), tpm.transmit)
            var reader = ByteReader(Array(answer.bytes.dropFirst(15)))
            _ = reader.read(UInt32.self)
            while let handle = reader.read(UInt32.self) {
                if kept.contains(handle) { continue }
                _ = try tpm.transmit(CommandCorpus.flush(handle).bytes)
            }
        }
    }
}
