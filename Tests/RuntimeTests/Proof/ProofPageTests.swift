import Foundation
import Launch
import Platform
import Proof
import RuntimePCR
import Testing
import VTPMProxy

@testable import RuntimeHostTPM

/// docs/proof.md, "With the tools of others": the commands that stand there come to the verdict of `vtpmctl proof verify`.
@Suite struct ProofPageTests {
    let temporary: TemporaryDirectory
    let host: ProofUnderTest

    init() throws {
        temporary = try TemporaryDirectory()
        host = try ProofUnderTest(in: temporary)
    }

    /// What the commands say of a bundle for a verifier who has given out a nonce, and wants this host and this launch.
    private func accept(_ bundle: ProofBundle, changing change: String = ":") throws -> (isProven: Bool, text: String) {
        let path = "\(temporary.path)/bundle"
        _ = try ProgramLaunch("/bin/rm", ["rm", "-rf", path]).start().wait()
        try bundle.files().write(to: path)
        // As the host is booted at first.
        if !temporary.exists("good.pcrs") { try temporary.write("good.pcrs", temporary.read("bundle/host.pcrs")) }
        let script = """
            cd '\(path)'
            \(change)
            nonce=\(hex(ProofUnderTest.nonce)) peer=\(String(repeating: "00", count: 32))
            host=\(hex(try host.hostKey.key.name)) launch=\(hex(host.manifest.launch.pcr17)) good='\(temporary.path)/good.pcrs'
            \(try ProofPage.commands(below: "### With the tools of others"))
            """
        try temporary.write("script", Array(script.utf8))
        let status = try ProgramLaunch(
            "/bin/sh",
            ["sh", "-c", "bash -x '\(temporary.path)/script' >'\(temporary.path)/printed' 2>&1"]
        ).start().wait()
        return (status == .exited(0), String(decoding: try temporary.read("printed"), as: UTF8.self))
    }

    @Test func whatIsSoIsProven() throws {
        let verdict = try accept(host.bundle())
        #expect(verdict.isProven, "\(verdict.text)")
        // Also without a counter.
        host.manifest.counter = nil
        let bundle = try host.bundle()
        let without = bundle.with(counter: nil)
        #expect(try host.problems(without) == [])
        let second = try accept(without)
        #expect(second.isProven, "\(second.text)")
    }

    /// Whoever has the key of the container's TPM shows another instance, with a log and registers that go with it.
    private func inventedInstance() throws -> ProofBundle {
        let other = try ProofUnderTest(in: temporary, stateID: "other")
        let guest = try other.guestQuote()
        var manifest = host.manifest
        manifest.quotingKey = try guest.key.name
        manifest.resets = other.manifest.resets
        return try host.bundle(guest: guest, manifest: manifest).with(log: other.log.encoded())
    }

    private func bootedOtherwise() throws -> ProofBundle {
        try host.hostTPM.extend(3)
        return try host.bundle()
    }

    /// The command at which the page stops, for each forgery that the verifier refuses.
    @Test func whatIsNotSoIsRefused() throws {
        let good = try host.bundle()
        #expect(try accept(good).isProven)
        let second = try ProofUnderTest(in: temporary, stateID: "second", statement: #"{"another":1}"#)
        var later = host.manifest
        later.resets = .init(resetCount: later.resets.resetCount + 1, restartCount: 0)
        var claimed = host.manifest
        claimed.launch = second.manifest.launch
        var resumed = host.manifest
        resumed.resets = .init(resetCount: resumed.resets.resetCount, restartCount: resumed.resets.restartCount + 1)
        try host.tpm.run("tpm2_pcrextend 11:sha256=\(String(repeating: "5a", count: 32))")
        let forgeries: [(bundle: ProofBundle, step: String)] = [
            (try host.bundle(nonce: Array("another nonce".utf8)), "tpm2_checkquote -Q -u host.pub"),
            (try second.bundle(), "test 000b"),
            (try host.bundle(guest: second.guestQuote()), "test 000b"),
            (good.with(manifest: second.manifest.encoded), "tpm2_checkquote -Q -u host.pub"),
            (try host.bundle(guest: good.guest, manifest: later), "test "),
            (try host.bundle(guest: good.guest, manifest: resumed), "test 1 = 2"),
            (try host.bundle(guest: good.guest, manifest: claimed), "test "),
            (try host.bundle(), "tpm2_checkquote -Q -u guest.pub"),
            (good.with(log: try second.log.encoded()), "tpm2_checkquote -Q -u guest.pub"),
            (good.with(counter: good.host.quote.attestation), "grep '^ff5443478014"),
            (try inventedInstance(), "grep '^ *18 : 0x"),
            (try bootedOtherwise(), "cmp host.pcrs"),
        ]
        for (index, forgery) in forgeries.enumerated() {
            #expect(try host.problems(forgery.bundle) != [], "\(index)")
            let verdict = try accept(forgery.bundle)
            #expect(!verdict.isProven, "\(index): \(verdict.text)")
            let last = verdict.text.split(separator: "\n").last { $0.hasPrefix("+ ") && !$0.contains("rm ") } ?? ""
            #expect(last.contains(forgery.step), "\(index): \(last)")
        }
    }

    /// A key in PEM is a copy for convenience: whoever puts another one there has nothing signed by it taken.
    @Test func aKeyThatIsNotTheEnrolledOneSignsNothing() throws {
        let good = try host.bundle()
        let counter = try #require(good.counter)
        let forge = """
            openssl ecparam -name prime256v1 -genkey -noout -out forger.key
            openssl pkey -in forger.key -pubout -out host.pem
            """
        #expect(try accept(good, changing: forge).isProven)
        let failure = #expect(throws: Failure.self) { try ProofBundle(reading: "\(temporary.path)/bundle") }
        #expect(failure?.why == "it is not the key of host.pub")
        // The counter, with a later value, and any signature.
        let later = SignedAttestation(
            message: counter.message.dropLast(8) + [0x7f, 0, 0, 0, 0, 0, 0, 0],
            signature: counter.signature
        )
        let forged = good.with(counter: later)
        #expect(try host.problems(forged) == [.counterSignature])
        let verdict = try accept(forged, changing: forge)
        #expect(!verdict.isProven && verdict.text.contains("Verification failure"), "\(verdict.text)")
    }

    /// Nor is a register of the host's that its root can reset.
    @Test func otherRegistersOfTheHostAreRefused() throws {
        let quoted = try host.bundle(hostPCRs: 1 << 16)
        let renamed = PCRQuote(
            quoted.host.quote.attestation,
            PCRSelection(banks: [PCRSelection.Bank(algorithm: 0x000b, mask: 1 << 7)]),
            values: quoted.host.quote.values
        )
        let bundle = quoted.with(host: ProofBundle.Quote(quoted.host.key, renamed))
        let verdict = try accept(bundle)
        #expect(
            !verdict.isProven && verdict.text.contains("+ grep '^ff5443478018.*00000001000b03800000"),
            "\(verdict.text)"
        )
        let failure = #expect(throws: Failure.self) { try ProofBundle(reading: "\(temporary.path)/bundle") }
        #expect(failure?.why == "it has not the values of the quoted PCRs")
    }

    /// A register that the tenant can set to what it likes is not taken for one that it cannot.
    @Test func otherRegistersAreRefused() throws {
        let digest = hex(host.manifest.launch.digest)
        let instance = hex(host.manifest.launch.instanceDigest)
        // PCRs 16 and 23 are the tenant's: they get the values of 17 and 18.
        try host.tpm.run("tpm2_pcrextend 16:sha256=\(digest) && tpm2_pcrextend 23:sha256=\(instance)")
        let chosen = PCRSelection(banks: [PCRSelection.Bank(algorithm: 0x000b, mask: 0x0081_0900)])
        let extraData = try ProofBinding.guest(nonce: ProofUnderTest.nonce, peer: ProofUnderTest.nobody)
        let found = try ContainerTPM(over: ContainerDevice(host.tpm)).quote(chosen, extraData)
        let renamed = PCRQuote(found.quote.attestation, ProofBundle.guestPCRs, values: found.quote.values)
        let bundle = try host.bundle(guest: ProofBundle.Quote(found.key, renamed))
        #expect(try host.problems(bundle) == [.guestQuote])
        #expect(try !accept(bundle).isProven)
    }
}
