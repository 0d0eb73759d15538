import Foundation
import Platform
import Testing

@testable import RuntimeHostTPM

/// docs/proof.md, "As the verifier": the commands that stand there refuse what no TPM has made.
@Suite struct EnrolmentPageTests {
    let temporary: TemporaryDirectory
    let host: HostTPM
    let key: QuotingKey
    let endorsement: HostEndorsement

    init() throws {
        temporary = try TemporaryDirectory()
        host = HostTPM(transport: try SoftwareTPM(in: "\(temporary.path)/tpm"))
        endorsement = try host.endorsement(nil)
        key = try host.makeAttestationKey(WrappedAttestationKey.makeAuthorization(), for: host.endorsement(.p256).key)
            .key
        try FileManager.default.createDirectory(atPath: "\(temporary.path)/enrolled", withIntermediateDirectories: true)
        try temporary.write("enrolled/attestation-key.pub", key.publicFile)
        try temporary.write("enrolled/attestation-key.name", Array("\(hex(try key.name))\n".utf8))
        try temporary.write("enrolled/endorsement-key.pub", endorsement.key.publicFile)
        // A maker's certificate for the endorsement key, by openssl in the maker's place.
        try shell(
            """
            tpm2_print -t TPM2B_PUBLIC -f pem enrolled/endorsement-key.pub >ek.pem
            openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout maker.key -out maker.pem -subj /CN=maker
            openssl x509 -new -force_pubkey ek.pem -subj /CN=tpm -days 2 -CA maker.pem -CAkey maker.key -outform der \
                -out enrolled/endorsement-key.der
            openssl genpkey -algorithm EC -pkeyopt group:P-256 -out software.key
            """
        )
    }

    private func shell(_ command: String) throws {
        let script = "cd '\(temporary.path)' && set -e && { \(command)\n } >log 2>&1"
        let status = try ProgramLaunch("/bin/bash", ["bash", "-c", script]).start().wait()
        let log = String(decoding: try temporary.read("log"), as: UTF8.self)
        try #require(status == .exited(0), "\(log)")
    }

    /// Returns whether the commands make a credential.
    private func accepts() throws -> Bool {
        // The host's own command at the end is not the verifier's.
        let commands = try ProofPage.commands(below: "### As the verifier")
            .components(separatedBy: "\n").filter { !$0.hasPrefix("vtpmctl ") }.joined(separator: "\n")
        unlink("\(temporary.path)/credential")
        try temporary.write("script", Array("cd '\(temporary.path)'\n\(commands)\n".utf8))
        let status = try ProgramLaunch(
            "/bin/sh",
            ["sh", "-c", "bash '\(temporary.path)/script' >'\(temporary.path)/log' 2>&1"]
        )
        .start().wait()
        #expect((status == .exited(0)) == temporary.exists("credential"))
        return status == .exited(0)
    }

    @Test func whatTheTPMHasIsAccepted() throws { #expect(try accepts()) }

    /// A name that is not the key's.
    @Test func anotherNameIsRefused() throws {
        try temporary.write("enrolled/attestation-key.name", Array("000b\(String(repeating: "5a", count: 32))\n".utf8))
        #expect(try !accepts())
    }

    /// A key that signs what it is given: TPMA_OBJECT without `restricted`.
    @Test func aKeyThatIsNotRestrictedIsRefused() throws {
        var area = key.area
        #expect(area[5] == 0x05)
        area[5] = 0x04
        var file = ByteWriter()
        file.write(UInt16(area.count))
        file.write(area)
        try temporary.write("enrolled/attestation-key.pub", file.bytes)
        let name = try entityName(ofPublicArea: area)
        try temporary.write("enrolled/attestation-key.name", Array("\(hex(name))\n".utf8))
        #expect(try !accepts())
    }

    /// An endorsement key of software beside the certificate of a real one.
    @Test func anEndorsementKeyThatIsNotCertifiedIsRefused() throws {
        let other = try HostTPM(transport: SoftwareTPM(in: "\(temporary.path)/other")).endorsement(nil)
        try temporary.write("enrolled/endorsement-key.pub", other.key.publicFile)
        #expect(try !accepts())
    }
}
