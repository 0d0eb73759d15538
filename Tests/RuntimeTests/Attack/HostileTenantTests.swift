import Glibc
import Platform
import RuntimeControl
import Testing

@testable import RuntimeHostTPM

/// A tenant that sends whatever the kernel lets through: worker, supervisor and neighbours stay what they were.
@Suite(.serialized) struct HostileTenantTests {
    let temporary: TemporaryDirectory

    init() throws {
        temporary = try TemporaryDirectory()
    }

    func start(_ stateID: String) throws -> VTPMUnderTest {
        let tpm = try VTPMUnderTest(in: temporary, stateID: stateID)
        try tpm.create()
        return tpm
    }

    /// Every valid command does what it is named after: what is mutated is not rubbish to begin with.
    @Test func theCorpusIsValid() throws {
        var tenant = try HostileTenant({ try start("web") }, seed: 1)
        try tenant.beginAnew()
        let corpus = try #require(tenant.corpus)
        #expect(corpus.seeds.count > 80)
        for seed in corpus.seeds where !seed.isTemplateOnly {
            let answer = TPMAnswer(bytes: try tenant.tpm.transmit(seed.bytes))
            #expect(answer.code == 0, "\(seed.name): \(hex(answer.bytes))")
            try tenant.flushExtras()
        }
    }

    @Test func aMillionCommandsDoNoHarm() throws {
        let count = Soak.count(20_000, soak: 1_000_000)
        let neighbour = try start("neighbour")
        let neighboursKey = try neighbour.endorsementKey()
        try #require(TPMAnswer(bytes: neighbour.transmit(extendPCR7)).code == 0)
        let neighboursPCR = try neighbour.run("tpm2_pcrread sha256:7")
        var (stateID, key) = ("", "")
        var tenant = try HostileTenant(
            {
                stateID = "web\(stateID)"
                let tpm = try start(stateID)
                key = try tpm.endorsementKey()
                return tpm
            },
            seed: Soak.seed
        )
        while tenant.sent < count {
            try tenant.send(2000)
            if tenant.sent < count, tenant.sent % 100_000 == 0 { print("fuzzed commands: \(tenant.summary)") }
            let answer = TPMAnswer(bytes: try neighbour.transmit(getRandom))
            try #require(answer.code == 0, "the neighbour: \(hex(answer.bytes))")
        }
        try tenant.examine()
        let tpm = tenant.tpm
        print("fuzzed commands: \(tenant.summary); \(Soak.hint)")
        print(
            "worker: \(try ProcessUsage(of: tpm.worker)); supervisor: \(try ProcessUsage(of: tpm.supervisor.process))"
        )
        // It was no rubbish that bounced off: each valid command got through, and much that is not valid got far.
        #expect(tenant.succeeded * 10 > tenant.sent)
        #expect(tenant.codes.count > 60)
        #expect(tenant.neverSucceeded == [])

        try tenant.makeRoom()
        #expect(try tpm.status().health == .serving)
        #expect(try tpm.endorsementKey() == key)
        #expect(try neighbour.endorsementKey() == neighboursKey)
        #expect(try neighbour.run("tpm2_pcrread sha256:7") == neighboursPCR)
        #expect(try tpm.stop() == .exited(0))
        let again = try start(stateID)
        #expect(try again.endorsementKey() == key)
        #expect(try again.stop() == .exited(0))
    }
}
