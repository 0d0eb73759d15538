import Crypto
import Platform
import RuntimeAdministration
import RuntimeKeys
import RuntimePCR
import RuntimeTransfer
import Testing

@testable import RuntimeHostTPM
@testable import RuntimeState

/// What we write now is as docs/state-format.md says: the reader that was written from it reads it.
@Suite struct IndependentReaderNewFilesTests {
    @Test func readsTheStatesAndTheIndexThatWeWrite() throws {
        let (host, master) = try (HostWithStates(), MasterKey(secretCopy(of: [UInt8](0xe0...0xff))))
        let keys = KeyRing(master)
        try host.temporary.write("key", KeyMaterial.encode(master).withBytes { Array($0) })
        let reader = IndependentReader(temporary: host.temporary)
        let ids = [
            "web", "a/b", ".", ".new-ü", "%-", String(repeating: "é", count: 200), String(repeating: "a", count: 241),
        ]
        for (number, id) in ids.enumerated() {
            for write in 0...number { try host.store("\(id) \(write)", id, keys) }
        }
        // As earlier versions began each state.
        let nothing = StatePayload(permanent: try SecretBytes(capacity: 1), isComplete: false)
        try host.open("unfinished", keys).store.write(nothing)
        try host.repository(keys).index.transact { (records) throws(Failure) in
            try records.update("web") { $0.renamedTo = "new" }
        }

        let index: IndependentReader.Index = try reader.read("index/index", "--key", "key")
        #expect(index.keyID == Hexadecimal.encode(master.id))
        #expect(index.identity == nil && index.counter == 0)
        var expected: [IndependentReader.Index.Entry] = []
        for summary in try host.repository(keys).summaries() {
            let header = try host.header(summary.stateID)
            expected.append(
                .init(
                    stateID: summary.stateID,
                    uuid: Hexadecimal.encode(header.uuid),
                    generation: summary.lastGeneration ?? 0,
                    lastUse: UInt64(summary.lastUse ?? 0),
                    // It has never been started.
                    bundle: summary.stateID == "unfinished" ? "" : host.path,
                    newStateID: summary.stateID == "web" ? "new" : ""
                )
            )
        }
        #expect(Set(index.entries.map(\.stateID)) == Set(ids + ["unfinished"]))
        #expect(index.entries.sorted { $0.stateID < $1.stateID } == expected.sorted { $0.stateID < $1.stateID })

        for (number, id) in ids.enumerated() {
            let state = try described(id, of: host, reader)
            #expect(state.generation == UInt64(number) + 1)
            #expect(state.complete)
            #expect(try state.permall == digest(Array("\(id) \(number)".utf8)))
        }
        let unfinished = try described("unfinished", of: host, reader)
        #expect(!unfinished.complete)
        #expect(try unfinished.permall == digest([]))
    }

    /// What the reader says about a state, which is as in its header and lies where it should.
    private func described(
        _ id: String,
        of host: HostWithStates,
        _ reader: IndependentReader
    ) throws -> IndependentReader.State {
        let name = try StateDirectoryName.encoded(id)
        let state: IndependentReader.State = try reader.read("states/\(name)/state", "--key", "key")
        let header = try host.header(id)
        #expect(state.stateID == id)
        #expect(state.directory == name)
        #expect(state.uuid == Hexadecimal.encode(header.uuid))
        #expect(state.keyID == Hexadecimal.encode(header.keyID))
        #expect(state.generation == header.generation)
        return state
    }

    @Test func readsTheIndexThatIsBoundToACounterAndTheKeyThatIsSealed() throws {
        let temporary = try TemporaryDirectory()
        let tpm = HostTPM(transport: try SoftwareTPM(in: "\(temporary.path)/host-tpm"))
        let master = try MasterKey(secret(3))
        try temporary.write("sealed", tpm.seal(master.key, pcrs: .standard).encoded)
        try temporary.write("key", KeyMaterial.encode(master).withBytes { Array($0) })
        let counter = SoftwareCounter(tpm: tpm)
        let index = try HostIndex(in: temporary.directory("index"), path: "", keys: KeyRing(master), counter: counter)
        try index.rebuild([IndexEntry(stateID: "web", uuid: [UInt8](repeating: 7, count: 16), generation: 9)])

        let reader = IndependentReader(temporary: temporary)
        let read: IndependentReader.Index = try reader.read("index/index", "--key", "key")
        #expect(read.entries.map(\.generation) == [9])
        let identity = try #require(read.identity)
        #expect(identity.index == SoftwareCounter.handle)
        // The TPM knows the counter and the storage key by what was read, and has this value.
        var known = ByteWriter()
        for (handle, name) in [(identity.index, identity.indexName), (identity.key, identity.keyName)] {
            known.write(handle)
            known.write(UInt16(name.utf8.count / 2))
            known.write(try bytes(of: name))
        }
        #expect(try counter.read(known.bytes) == read.counter)
        let sealed: IndependentReader.Sealed = try reader.read("sealed")
        #expect(sealed.keyName == identity.keyName && sealed.key == identity.key)
        #expect(sealed.pcrs == "sha256:0-4,6-14")
    }

    @Test(arguments: ["passphrase", "x25519", "p256", "p384", "ecparam", "compressed"])
    func readsTheExportsThatWeWrite(protection: String) throws {
        let keys = try ExportKeys()
        let temporary = keys.temporary
        var options = ["--passphrase", "passphrase"]
        var with = ExportProtection.passphrase(try secretText("correct horse"))
        // Its file has a line feed, which is not the passphrase's.
        try temporary.write("passphrase", Array("correct horse\n".utf8))
        if protection != "passphrase" {
            options = ["--identity", "identity"]
            with = .recipient(publicKeyPEM: try keys.publicKey(protection))
            try temporary.write("identity", plain(keys.privateKey(protection)))
        }
        let reader = IndependentReader(temporary: temporary)
        let id = "a state/ü"
        try temporary.write("export", StateExport.seal(state(id), with: with))
        let export: IndependentReader.Export = try reader.read("export", options[0], options[1])
        #expect(export.stateID == id)
        #expect(try export.permall == digest(seeds))

        let master = try MasterKey(secret(4))
        let contents = try plain(KeyMaterial.encode(master))
        try temporary.write("export", StateExport.seal(state("container-vtpm master key", contents), with: with))
        let key: IndependentReader.Export = try reader.read("export", options[0], options[1])
        #expect(key.keyID == Hexadecimal.encode(master.id))
    }

    private func bytes(of hexadecimal: String) throws -> [UInt8] {
        let digits = Array(hexadecimal.utf8)
        return try stride(from: 0, to: digits.count, by: 2).map { start in
            try #require(UInt8(String(decoding: digits[start..<start + 2], as: UTF8.self), radix: 16))
        }
    }
}
