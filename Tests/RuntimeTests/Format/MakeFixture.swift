import Configuration
import Crypto
import Foundation
import Glibc
import Platform
import RuntimeAdministration
import RuntimeControl
import RuntimeKeys
import RuntimePCR
import RuntimeTransfer
import Testing

@testable import RuntimeHostTPM
@testable import RuntimeState

/// Makes a fixture for ``FormatTests`` in the folder that CONTAINER_VTPM_MAKE_FIXTURE names: to be done once for each
/// version of the format, and committed.
@Suite struct MakeFixture {
    static let folder = ProcessInfo.processInfo.environment["CONTAINER_VTPM_MAKE_FIXTURE"]

    @Test(.enabled(if: folder != nil)) func make() throws {
        let temporary = try TemporaryDirectory()
        let stateID = FormatTests.stateID
        // The key of the tests' own TPMs: 32 bytes of 1.
        let master = try MasterKey(secret(1))
        let tpm = try VTPMUnderTest(in: temporary, stateID: stateID)
        try tpm.create()
        let endorsementKey = try tpm.endorsementKey()
        try tpm.run("tpm2_nvdefine -Q 0x1500001 -C o -s 7 -a 'ownerread|ownerwrite'")
        try tpm.run("printf content | tpm2_nvwrite -Q 0x1500001 -C o -i -")
        try tpm.stop()
        let ring = KeyRing(master)
        let states = try temporary.directory("states")
        func repository(_ index: HostIndex) throws -> StateRepository {
            StateRepository(in: try states.duplicate(), path: "", keys: ring, index: index)
        }
        let plain = try HostIndex(in: temporary.directory("index"), path: "", keys: ring)
        try plain.transact { (records) throws(Failure) in
            try records.update(StateDirectoryName.encoded(stateID)) { $0.bundle = "/var/lib/bundles/web" }
        }
        let permanent = try repository(plain).exportState(stateID)

        let encoded = try KeyMaterial.encode(master).withBytes { Array($0) }
        _ = try temporary.directory("keys")
        try temporary.write("keys/master.key", encoded)
        try temporary.write("keys/raw", [UInt8](repeating: 1, count: 32))
        try temporary.write("keys/hexadecimal", Array((String(repeating: "01", count: 32) + "\n").utf8))
        try temporary.write("keys/print", Array("#!/bin/sh\ncat \"$1\"\n".utf8))

        let software = try SoftwareTPM(in: "\(temporary.path)/host-tpm")
        let host = HostTPM(transport: software)
        try temporary.write("keys/master.sealed", host.seal(master.key, pcrs: .standard).encoded)
        let counter = SoftwareCounter(tpm: host)
        let bound = try HostIndex(in: temporary.directory("index-bound"), path: "", keys: ring, counter: counter)
        try bound.rebuild(plain.snapshot().values.map { $0 })
        software.stop()

        _ = try temporary.directory("exports")
        let exported = ExportedState(stateID: stateID, permanent: permanent)
        let passphrase = try secretCopy(of: Array("a passphrase".utf8))
        try temporary.write("exports/passphrase", StateExport.seal(exported, with: .passphrase(passphrase)))
        try shell(
            "cd \(temporary.path)/exports && openssl genpkey -algorithm X25519 -out identity.pem"
                + " && openssl pkey -in identity.pem -pubout -out recipient.pem"
        )
        let recipient = try temporary.read("exports/recipient.pem")
        try temporary.write("exports/recipient", StateExport.seal(exported, with: .recipient(publicKeyPEM: recipient)))
        let key = try secretCopy(of: [UInt8](1...32))
        for (name, key) in [("swtpm", nil), ("swtpm-encrypted", SWTPMKey.key(key))] {
            let file = try SWTPMState.encode(permanent, key: key)
            try temporary.write("exports/\(name)", file.withBytes { Array($0) })
        }
        let name = try StateDirectoryName.encoded(stateID)
        let header = try StateFile(parsing: temporary.read("states/\(name)/state"), path: "")
        let expected = FormatFixture.Expected(
            keyID: Hexadecimal.encode(master.id),
            generation: header.generation,
            endorsementKey: endorsementKey,
            nvContent: "content"
        )
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
        try temporary.write("expected.json", Array(encoder.encode(expected)) + [UInt8(ascii: "\n")])
        let target = try #require(Self.folder)
        try shell(
            "cd \(temporary.path) && mkdir -p \(target) && rm -rf run output ek.ctx ek.pub host-tpm/data"
                + " host-tpm/control host-tpm/.lock states/*/lock index/lock index/root index-bound/lock index-bound/root"
                + " && cp -r keys states index index-bound host-tpm exports expected.json \(target)/"
        )
    }

    private func shell(_ command: String) throws {
        try #require(try ProgramLaunch("/bin/sh", ["sh", "-c", command]).start().wait() == .exited(0), "\(command)")
    }
}
