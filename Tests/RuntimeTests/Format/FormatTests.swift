import Configuration
import Crypto
import Glibc
import Platform
import RuntimeAdministration
import RuntimeControl
import RuntimeKeys
import RuntimeTransfer
import Testing

@testable import RuntimeHostTPM
@testable import RuntimeState

/// Whatever a released version has written must load for ever.
@Suite(.serialized) struct FormatTests {
    static let versions = [1, 2, 3, 4]
    /// The state's ID in the fixture: one that has to be escaped.
    static let stateID = "containerd/blue/web 1"

    @Test(arguments: versions) func theKeyLoadsFromEachForm(version: Int) throws {
        let fixture = try FormatFixture(version: version)
        let keys = "\(fixture.path)/keys"
        chmod("\(keys)/print", 0o700)
        let sources: [Configuration.Key] = [
            .file(path: "\(keys)/master.key"),
            .credential(name: "master.key", directory: keys),
            .credential(name: "raw", directory: keys),
            .credential(name: "hexadecimal", directory: keys),
            .command(["\(keys)/print", "\(keys)/hexadecimal"], timeout: 10),
        ]
        for source in sources {
            let ring = try fixture.keychain(source).load(isFirstUse: false)
            #expect(Hexadecimal.encode(ring.current.id) == fixture.expected.keyID, "\(source)")
        }
    }

    @Test(arguments: versions) func theKeyIsUnsealedByTheTPMThatSealedIt(version: Int) throws {
        let fixture = try FormatFixture(version: version)
        let tpm = HostTPM(transport: try SoftwareTPM(in: "\(fixture.path)/host-tpm"))
        let path = "\(fixture.path)/keys/master.sealed"
        let sealed = try SealedSecret(decoding: fixture.temporary.read("keys/master.sealed"), path: path)
        let key = try MasterKey(tpm.unseal(sealed))
        #expect(Hexadecimal.encode(key.id) == fixture.expected.keyID)
    }

    @Test(arguments: versions) func theIndexThatIsBoundToACounterLoads(version: Int) throws {
        let fixture = try FormatFixture(version: version)
        let ring = try fixture.keychain(.file(path: "\(fixture.path)/keys/master.key")).load(isFirstUse: false)
        let software = try SoftwareTPM(in: "\(fixture.path)/host-tpm")
        let counter = SoftwareCounter(tpm: HostTPM(transport: software))
        let repository = try fixture.repository(ring, index: "index-bound", counter: counter)
        try repository.index.transact { (records) throws(Failure) in
            #expect(try records.entry(StateDirectoryName.encoded(Self.stateID))?.stateID == Self.stateID)
        }
        #expect(try repository.index.snapshot().count == 1)
    }

    @Test(arguments: versions) func theTPMStartsFromIt(version: Int) throws {
        let fixture = try FormatFixture(version: version)
        let ring = try fixture.keychain(.file(path: "\(fixture.path)/keys/master.key")).load(isFirstUse: false)
        #expect(try fixture.load(Self.stateID, ring).generation == fixture.expected.generation)
        try expectTPM(of: fixture, in: fixture.temporary)
    }

    @Test(arguments: versions, ["passphrase", "recipient", "swtpm", "swtpm-encrypted"])
    func theTPMStartsFromAnExport(version: Int, form: String) throws {
        let fixture = try FormatFixture(version: version)
        let file = try secretCopy(of: fixture.temporary.read("exports/\(form)"))
        let path = "\(fixture.path)/exports/\(form)"
        let permanent: SecretBytes
        switch form {
        case "passphrase", "recipient":
            let opener: ExportCredential =
                form == "passphrase"
                ? .passphrase(try secretCopy(of: Array("a passphrase".utf8)))
                : .identity(privateKeyPEM: try secretCopy(of: fixture.temporary.read("exports/identity.pem")))
            let opened = try StateExport.open(file.withBytes { Array($0) }, with: opener, path: path)
            #expect(opened.stateID == Self.stateID)
            permanent = opened.permanent
        default:
            let key = try secretCopy(of: [UInt8](1...32))
            permanent = try SWTPMState.decode(file, key: form == "swtpm" ? nil : .key(key), path: path)
        }
        let other = try TemporaryDirectory()
        _ = try other.directory("states")
        let ring = try fixture.keychain(.file(path: "\(fixture.path)/keys/master.key")).load(isFirstUse: false)
        let index = try HostIndex(in: other.directory("index"), path: "\(other.path)/index", keys: ring)
        let repository = StateRepository(in: try other.directory("states"), path: other.path, keys: ring, index: index)
        try repository.importState(Self.stateID, permanent)
        try expectTPM(of: fixture, in: other)
    }

    /// Starts the real supervisor and worker, and finds the TPM that was left.
    private func expectTPM(of fixture: FormatFixture, in temporary: TemporaryDirectory) throws {
        let tpm = try VTPMUnderTest(in: temporary, stateID: Self.stateID, keys: [1])
        try tpm.create()
        #expect(try tpm.endorsementKey() == fixture.expected.endorsementKey)
        let content = try tpm.run("tpm2_nvread 0x1500001 -C o -s 7")
        #expect(content == fixture.expected.nvContent)
        #expect(try tpm.stop() == .exited(0))
    }
}

/// A fixture: the counter of a swtpm in place of the host's TPM.
final class SoftwareCounter: MonotonicCounter {
    static let handle: UInt32 = 0x0180_7654
    let tpm: HostTPM

    init(tpm: HostTPM) { self.tpm = tpm }

    func exists() throws(Failure) -> Bool { try tpm.counterExists(Self.handle) }

    func define() throws(Failure) -> [UInt8] {
        var writer = ByteWriter()
        try tpm.defineCounter(Self.handle).write(to: &writer)
        return writer.bytes
    }

    func remove() throws(Failure) { try tpm.undefineCounter(Self.handle) }

    func read(_ identity: [UInt8]) throws(Failure) -> UInt64 { try tpm.readCounter(counter(identity)) }

    func increment(_ identity: [UInt8]) throws(Failure) -> UInt64 { try tpm.incrementCounter(counter(identity)) }

    private func counter(_ identity: [UInt8]) throws(Failure) -> CounterIdentity {
        var reader = ByteReader(identity)
        guard let counter = CounterIdentity(&reader) else { throw Failure("cannot use the counter", because: "what") }
        return counter
    }
}
