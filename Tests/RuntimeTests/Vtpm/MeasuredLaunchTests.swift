import CryptoDigests
import Foundation
import Launch
import Platform
import RuntimeControl
import Testing
import VTPMProxy

/// What a launch leaves in the PCRs of a real TPM, as the real tools see it.
struct MeasuredLaunchTests {
    private static let statement = LaunchStatement(text: Array(#"{"process":{"args":["sh"]}}"#.utf8))
    private let temporary: TemporaryDirectory

    init() throws { temporary = try TemporaryDirectory() }

    private func start(
        _ event: [UInt8]?,
        isEphemeral: Bool = false,
        keys: RequestedKeys = .none
    ) throws -> VTPMUnderTest {
        let tpm = try VTPMUnderTest(in: temporary, isEphemeral: isEphemeral, tpmKeys: keys, measuring: event)
        try tpm.create()
        return tpm
    }

    /// The PCRs of a bank, by their numbers, in lower case.
    private func pcrs(_ tpm: VTPMUnderTest, _ bank: String = "sha256") throws -> [Int: String] {
        var values: [Int: String] = [:]
        for line in try tpm.run("tpm2_pcrread \(bank)").split(separator: "\n") {
            let parts = line.split(separator: ":").map { $0.trimmingCharacters(in: .whitespaces) }
            if parts.count == 2, let number = Int(parts[0]) { values[number] = parts[1].dropFirst(2).lowercased() }
        }
        return values
    }

    private func log(_ tpm: VTPMUnderTest, _ event: [UInt8]) throws -> LaunchLog {
        let log = LaunchLog(launch: event, instance: tpm.instance)
        try temporary.write("launch.log", log.encoded())
        return log
    }

    private static func value(after event: [UInt8], _ bank: String) throws -> String {
        let algorithm = try #require(DigestAlgorithm.allCases.first { $0.name == bank })
        return try LaunchLog.value(after: event, algorithm).map { byte in
            (byte < 16 ? "0" : "") + String(byte, radix: 16)
        }.joined()
    }

    @Test(arguments: ["sha1", "sha256", "sha384", "sha512"]) func eachBankHasTheLaunch(bank: String) throws {
        let event = try Self.statement.event()
        let tpm = try start(event)
        let values = try pcrs(tpm, bank)
        let (launch, instance) = (
            try Self.value(after: event, bank), try Self.value(after: tpm.instance, bank)
        )
        #expect(values[17] == launch && values[11] == launch)
        #expect(values[18] == instance && values[8] == instance)
        // All others that only a launch resets are 0, and nothing else was touched.
        let zero = String(repeating: "0", count: launch.count)
        for pcr in [0, 1, 2, 3, 4, 5, 6, 7, 9, 10, 12, 13, 14, 15, 16, 19, 20, 21, 22, 23] {
            #expect(values[pcr] == zero, "PCR \(pcr)")
        }
        #expect(try tpm.stop() == .exited(0))
    }

    @Test func withoutAnEventNothingIsMeasured() throws {
        let tpm = try start(nil)
        let values = try pcrs(tpm)
        #expect(tpm.instance.isEmpty)
        #expect(values[17] == String(repeating: "f", count: 64) && values[11] == String(repeating: "0", count: 64))
        #expect(try tpm.stop() == .exited(0))
    }

    /// Each start is another run of the same launch, and of the same instance.
    @Test func theNextStartIsAnotherRun() throws {
        let event = try Self.statement.event()
        var values: [[Int: String]] = []
        var instances: [String] = []
        for _ in 0..<2 {
            let tpm = try start(event, keys: RequestedKeys(ofNew: .standard, ofExisting: .standard))
            values.append(try pcrs(tpm))
            let statement = try #require(TaggedEvent.instance.statement(in: tpm.instance))
            instances.append(String(decoding: statement, as: UTF8.self))
            #expect(try tpm.stop() == .exited(0))
        }
        #expect(values[0][17] == values[1][17] && values[0][18] != values[1][18])
        let parsed = try instances.map {
            try #require(JSONSerialization.jsonObject(with: Data($0.utf8)) as? [String: Any])
        }
        #expect(parsed[0]["instance"] as? String == parsed[1]["instance"] as? String)
        #expect((parsed[0]["instance"] as? String)?.count == 36)
        #expect(parsed[0]["generation"] as? String == "0" && parsed[1]["generation"] as? String != "0")
        #expect(parsed[0]["run"] as? String != parsed[1]["run"] as? String)
    }

    /// By these counts a quote is known to be of this run and of no other.
    @Test func theHostLearnsHowOftenTheTPMWasStarted() throws {
        let event = try Self.statement.event()
        var resets: [UInt32] = []
        for _ in 0..<2 {
            let tpm = try start(event)
            let clock = try tpm.run("tpm2_readclock")
            #expect(clock.contains("reset_count: \(tpm.started.resets.resetCount)\n"), "\(clock)")
            #expect(clock.contains("restart_count: \(tpm.started.resets.restartCount)\n"), "\(clock)")
            resets.append(tpm.started.resets.resetCount)
            #expect(try tpm.stop() == .exited(0))
        }
        #expect(resets[1] > resets[0])
    }

    /// Everything in one TPM: the tools of others replay the log from zero, and a quote agrees with it.
    @Test(arguments: [false, true]) func theToolsOfOthersReplayTheLog(isEphemeral: Bool) throws {
        let event = try Self.statement.event()
        let tpm = try start(event, isEphemeral: isEphemeral)
        let log = try log(tpm, event)
        #expect(try LaunchLog(reading: temporary.read("launch.log"), "it") == log)
        let shown = try tpm.run("tpm2_eventlog launch.log")
        for word in ["WARN", "ERROR"] { #expect(!shown.contains(word), "\(shown)") }
        let values = try pcrs(tpm)
        for pcr in [8, 11, 17, 18] {
            let line = "\(pcr)\(pcr < 10 ? " " : "") : 0x\(try #require(values[pcr]))"
            #expect(shown.contains(line), "\(line): \(shown)")
        }
        let verdict = try tpm.run(
            """
            set -e
            tpm2_createek -Q -c ek.ctx -G ecc
            tpm2_createak -Q -C ek.ctx -c ak.ctx -G ecc -g sha256 -s ecdsa -u ak.pub -f pem
            tpm2_flushcontext -t
            tpm2_quote -Q -c ak.ctx -l sha256:8,11,17,18 -q 1234 -m quote.msg -s quote.sig -o quote.pcrs -g sha256
            tpm2_checkquote -Q -u ak.pub -m quote.msg -s quote.sig -f quote.pcrs -g sha256 -q 1234 -e launch.log
            """
        )
        #expect(verdict == "")
        #expect(try tpm.stop() == .exited(0))
    }

    /// A tenant has locality 0, and the platform is closed.
    @Test func aTenantChangesNothingOfIt() throws {
        let event = try Self.statement.event()
        let tpm = try start(event)
        let before = try pcrs(tpm)
        let digest = String(repeating: "5a", count: 32)
        for pcr in [17, 18, 19, 20, 21, 22] {
            let (status, output) = try tpm.tool("tpm2_pcrextend \(pcr):sha256=\(digest)")
            // TPM_RC_LOCALITY
            #expect(status != .exited(0) && output.contains("0x907"), "PCR \(pcr): \(output)")
            let (resetStatus, resetOutput) = try tpm.tool("tpm2_pcrreset \(pcr)")
            #expect(resetStatus != .exited(0) && resetOutput.contains("0x907"), "PCR \(pcr): \(resetOutput)")
        }
        for pcr in [8, 11] {
            let (status, output) = try tpm.tool("tpm2_pcrreset \(pcr)")
            #expect(status != .exited(0) && output.contains("0x907"), "PCR \(pcr): \(output)")
        }
        _ = try tpm.tool("tpm2_clear -c l; tpm2_shutdown -c; tpm2_startup -c")
        var after = try pcrs(tpm)
        #expect(after == before)
        // What it appends to the copies shows: the log does not explain their values any more.
        try tpm.run("tpm2_pcrextend 8:sha256=\(digest) && tpm2_pcrextend 11:sha256=\(digest)")
        after = try pcrs(tpm)
        #expect(after[17] == before[17] && after[18] == before[18])
        #expect(after[8] != before[8] && after[11] != before[11])
        #expect(try tpm.stop() == .exited(0))
    }

    /// A statement of several messages, as one about a container with all of the host's devices.
    @Test func aLargeStatementIsMeasured() throws {
        let event = TaggedEvent.launch.encoded([UInt8](repeating: UInt8(ascii: "x"), count: 200_000))
        let tpm = try start(event)
        #expect(try pcrs(tpm)[17] == Self.value(after: event, "sha256"))
        #expect(try tpm.stop() == .exited(0))
    }

    /// The chunks of a statement are as many as their sizes say: one that ends with a chunk's end too.
    @Test(arguments: [0, Channel.chunkSize - 8, Channel.chunkSize, 2 * Channel.chunkSize - 8])
    func eachSizeIsMeasured(size: Int) throws {
        let event = TaggedEvent.launch.encoded([UInt8](repeating: UInt8(ascii: "x"), count: size))
        let tpm = try start(event, isEphemeral: true)
        #expect(try pcrs(tpm)[17] == Self.value(after: event, "sha256"))
        #expect(try tpm.stop() == .exited(0))
    }

    /// A TPM from before that has other banks has the launch in those.
    @Test func aBankThatIsNotThereIsPassedOver() throws {
        let event = try Self.statement.event()
        let tpm = try start(event, keys: RequestedKeys(ofNew: [], ofExisting: [], banks: .sha384))
        #expect(try pcrs(tpm, "sha384")[17] == Self.value(after: event, "sha384"))
        #expect(try pcrs(tpm, "sha256").isEmpty)
        #expect(try tpm.stop() == .exited(0))
    }
}
