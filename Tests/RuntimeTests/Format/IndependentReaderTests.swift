import Platform
import TestSupport
import Testing

@testable import RuntimeHostTPM
@testable import RuntimeState

/// docs/state-format.md is enough to write a reader from: one that was reads what is committed, and refuses the rest.
@Suite(.serialized) struct IndependentReaderTests {
    static let stateID = FormatTests.stateID

    // MARK: - What is committed

    @Test(arguments: FormatTests.versions, ["master.key", "raw", "hexadecimal"])
    func readsTheCommittedStateWithEachFormOfTheKey(version: Int, form: String) throws {
        let fixture = try FormatFixture(version: version)
        let reader = IndependentReader(temporary: fixture.temporary)
        let key: IndependentReader.Key = try reader.read("keys/\(form)")
        #expect(key.keyID == fixture.expected.keyID)
        let name = try #require(entries(of: fixture.temporary.directory("states"), "").first)
        let state: IndependentReader.State = try reader.read("states/\(name)/state", "--key", "keys/\(form)")
        #expect(state.stateID == Self.stateID)
        #expect(state.directory == name)
        #expect(state.keyID == fixture.expected.keyID)
        #expect(state.generation == fixture.expected.generation)
        #expect(state.complete)
        // swtpm's file has the same TPM in clear, after 16 bytes.
        let permanent = try Array(fixture.temporary.read("exports/swtpm").dropFirst(16))
        #expect(contains(permanent, fixture.expected.nvContent.utf8))
        #expect(try state.permall == digest(permanent))
    }

    @Test(arguments: FormatTests.versions) func readsTheCommittedExports(version: Int) throws {
        let fixture = try FormatFixture(version: version)
        let reader = IndependentReader(temporary: fixture.temporary)
        try fixture.temporary.write("passphrase", Array("a passphrase".utf8))
        let locked: IndependentReader.Export = try reader.read("exports/passphrase", "--passphrase", "passphrase")
        let identity = "exports/identity.pem"
        let addressed: IndependentReader.Export = try reader.read("exports/recipient", "--identity", identity)
        let permanent = try digest(fixture.temporary.read("exports/swtpm").dropFirst(16))
        for (export, protection) in [(locked, 1), (addressed, 2)] as [(IndependentReader.Export, UInt16)] {
            #expect(export.stateID == Self.stateID)
            #expect(export.protection == protection)
            #expect(export.permall == permanent)
        }
    }

    @Test(arguments: FormatTests.versions) func readsTheCommittedIndexesAndTheSealedKey(version: Int) throws {
        let fixture = try FormatFixture(version: version)
        let reader = IndependentReader(temporary: fixture.temporary)
        let plain: IndependentReader.Index = try reader.read("index/index", "--key", "keys/raw")
        let bound: IndependentReader.Index = try reader.read("index-bound/index", "--key", "keys/raw")
        let header = try StateDirectoryName.encoded(Self.stateID)
        let state: IndependentReader.State = try reader.read("states/\(header)/state", "--key", "keys/raw")
        for index in [plain, bound] {
            #expect(index.keyID == fixture.expected.keyID)
            #expect(index.entries.map(\.stateID) == [Self.stateID])
            #expect(index.entries.map(\.uuid) == [state.uuid])
            #expect(index.entries.map(\.generation) == [fixture.expected.generation])
            #expect(index.entries.map(\.bundle) == ["/var/lib/bundles/web"])
        }
        #expect(plain.counter == 0 && plain.identity == nil)
        #expect(bound.counter > 0)
        let identity = try #require(bound.identity)
        #expect(identity.index == SoftwareCounter.handle)
        // One storage key protects the session to the counter and the master key.
        let sealed: IndependentReader.Sealed = try reader.read("keys/master.sealed")
        #expect(sealed.key == identity.key && sealed.keyName == identity.keyName)
        #expect(sealed.pcrs == "sha256:0-4,6-14")
        #expect(sealed.public.contains(sealed.policy))
    }

    // MARK: - What is damaged

    /// An index of the second format is not one file.
    @Test(arguments: [1, 3]) func refusesADamagedFile(version: Int) throws {
        let fixture = try FormatFixture(version: version)
        let temporary = fixture.temporary
        let reader = IndependentReader(temporary: temporary)
        let state = "states/\(try StateDirectoryName.encoded(Self.stateID))/state"
        let options = ["--key", "keys/raw", "--identity", "exports/identity.pem"]
        var generator = SeededGenerator(seed: 11)
        for name in [
            state, "index/index", "index-bound/index", "exports/recipient", "keys/master.sealed", "keys/master.key",
        ] where version == 1 || !name.hasPrefix("index") {
            let good = try temporary.read(name)
            try temporary.write("damaged", good)
            #expect(try reader.run("damaged", options).status == .exited(0))
            // Each field's, as far as there are not too many; the last byte's too.
            let step = max(1, good.count / 24)
            for index in Array(stride(from: 0, to: good.count, by: step)) + [good.count - 1] {
                var damaged = good
                damaged[index] ^= 1 << UInt8.random(in: 0...7, using: &generator)
                try temporary.write("damaged", damaged)
                _ = try reader.refusal("damaged", options)
            }
            for damaged in [[], Array(good.dropLast()), good + [0], Array(good.prefix(good.count / 2))] {
                try temporary.write("damaged", damaged)
                _ = try reader.refusal("damaged", options)
            }
        }
    }

    @Test func refusesWhatIsNotForIt() throws {
        let fixture = try FormatFixture(version: 1)
        let temporary = fixture.temporary
        let reader = IndependentReader(temporary: temporary)
        try temporary.write("other", [UInt8](repeating: 2, count: 32))
        try temporary.write("wrong", Array("a passphrasE".utf8))
        try temporary.shell("openssl genpkey -algorithm X25519 -out other.pem")
        let state = "states/\(try StateDirectoryName.encoded(Self.stateID))/state"
        for name in [state, "index/index"] {
            #expect(try reader.refusal(name, ["--key", "other"]).contains("it needs another master key"))
            #expect(try reader.refusal(name, []).contains("it needs --key"))
        }
        #expect(try reader.refusal("exports/passphrase", ["--passphrase", "wrong"]).contains("does not decrypt"))
        #expect(try reader.refusal("exports/recipient", ["--identity", "other.pem"]).contains("for another recipient"))
    }
}
