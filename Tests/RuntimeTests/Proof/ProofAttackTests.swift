import CryptoDigests
import Glibc
import Launch
import Platform
import Proof
import RuntimeControl
import RuntimePCR
import Testing
import VTPMProxy

@testable import RuntimeHostTPM

/// Each way to have something proven that is not so, refused for its own reason.
@Suite struct ProofAttackTests {
    let temporary: TemporaryDirectory
    let host: ProofUnderTest

    init() throws {
        temporary = try TemporaryDirectory()
        host = try ProofUnderTest(in: temporary)
    }

    private static let other = Array("another nonce".utf8)

    @Test func whatIsSoIsProven() throws {
        let more = """
            , "images": ["sha256:aa"], "root": "measured", "states": ["web"], "leastGeneration": 0,
            "quotingKeys": ["\(hex(host.manifest.quotingKey))"], "software": {"vtpm-worker": ["cc"]},
            "leastCounter": \(host.manifest.counter?.value ?? 0)
            """
        #expect(try host.problems(host.bundle(), more) == [])
        // Also as one of many that wait, and from the files.
        let batched = try host.bundle(others: [[1], [2], [3], [4]])
        #expect(batched.path.index == 4 && batched.path.size == 5)
        try batched.files().write(to: "\(temporary.path)/bundle")
        let read = try ProofBundle(reading: "\(temporary.path)/bundle")
        #expect(read == batched)
        #expect(try host.problems(read, more) == [])
        try temporary.write("collection", batched.files().collection)
        #expect(try ProofBundle(reading: "\(temporary.path)/collection") == batched)
    }

    @Test func anEarlierProofIsRefused() throws {
        let earlier = try host.bundle(nonce: Self.other)
        #expect(try host.problems(earlier) == [.anotherNonce, .guestBinding])
        // Whoever writes the new nonce into it has neither TPM's word.
        let renamed = ProofBundle(
            nonce: ProofUnderTest.nonce,
            peer: earlier.peer,
            path: earlier.path,
            manifest: earlier.manifest,
            launchLog: earlier.launchLog,
            guest: earlier.guest,
            host: earlier.host,
            counter: earlier.counter
        )
        #expect(try host.problems(renamed) == [.hostBinding, .guestBinding, .counterBinding])
        // The container's old quote, with a new one of the host's: the host signs for whoever asks.
        let half = try host.bundle(guest: host.guestQuote(Self.other))
        #expect(try host.problems(half) == [.guestBinding])
    }

    /// Somebody passes a proof on as his own: the peer sees another key.
    @Test func aProofForAnotherPeerIsRefused() throws {
        let peer = [UInt8](repeating: 7, count: 32)
        let bundle = try host.bundle(peer: peer)
        #expect(try host.problems(bundle, peer: peer) == [])
        #expect(try host.problems(bundle) == [.anotherPeer, .guestBinding])
    }

    /// Two containers of one host: what the one's TPM says does not go with what the host says of the other.
    @Test func aQuoteOfAnotherContainerIsRefused() throws {
        let second = try ProofUnderTest(in: temporary, stateID: "second", statement: #"{"another":1}"#)
        let quote = try second.guestQuote()
        // The host signs what it is asked for: a quote by its digest, and the manifest of who asks.
        #expect(
            try host.problems(host.bundle(guest: quote)) == [
                .anotherTPM, .guestPCR(8), .guestPCR(11), .guestPCR(17), .guestPCR(18),
            ]
        )
        let good = try host.bundle()
        let mixed = good.with(manifest: second.manifest.encoded, log: try second.log.encoded(), guest: quote)
        let found = try host.problems(mixed)
        #expect(found.contains(.hostBinding) && found.contains(.launch(hex(second.manifest.launch.pcr17))))
    }

    /// The proof of another host, with a TPM that nobody has enrolled.
    @Test func anotherHostIsRefused() throws {
        let second = try ProofUnderTest(in: temporary, stateID: "second")
        let found = try host.problems(second.bundle())
        #expect(found == [.unknownHost(hex(try second.hostKey.key.name))])
    }

    @Test func anotherManifestIsRefused() throws {
        let good = try host.bundle()
        var changed = host.manifest
        changed.state = "other"
        #expect(try host.problems(good.with(manifest: changed.encoded)) == [.hostBinding, .counterBinding])
        let text = try host.problems(good.with(manifest: changed.encoded.dropLast()))
        #expect(text.count == 1 && text[0].description.hasPrefix("cannot read the manifest: "))
    }

    @Test func anotherLogIsRefused() throws {
        let good = try host.bundle()
        let other = LaunchLog(
            launch: TaggedEvent.launch.encoded(Array(#"{"image":{"digest":"sha256:aa"}}"#.utf8)),
            instance: host.log.instance
        )
        #expect(try host.problems(good.with(log: other.encoded())) == [.anotherLog])
        let cut = try host.problems(good.with(log: good.launchLog.dropLast()))
        #expect(cut == [.log("cannot read the launch log: it is no launch log of this project's")])
    }

    // MARK: - The tenant

    @Test func whatTheTenantAppendsShows() throws {
        try host.tpm.run("tpm2_pcrextend 11:sha256=\(String(repeating: "5a", count: 32))")
        #expect(try host.problems(host.bundle()) == [.guestPCR(11)])
        try host.tpm.run("tpm2_pcrextend 8:sha256=\(String(repeating: "5a", count: 32))")
        #expect(try host.problems(host.bundle()) == [.guestPCR(8), .guestPCR(11)])
    }

    @Test func aTPMThatItsTenantHasClearedIsAnotherRun() throws {
        try host.tpm.run("tpm2_clear -c l")
        #expect(try host.problems(host.bundle()) == [.anotherRun])
    }

    @Test func anEarlierRunIsRefused() throws {
        let quote = try host.guestQuote()
        var next = host.manifest
        next.resets = TPMResets(resetCount: next.resets.resetCount + 1, restartCount: 0)
        #expect(try host.problems(host.bundle(guest: quote, manifest: next)) == [.anotherRun])
    }

    /// A worker that was taken over can make its TPM say anything: the host's word on the launch stays.
    ///
    /// The attacker has a key of his own, and signs with it what a TPM would.
    @Test func aForgedQuoteIsOfAnotherKey() throws {
        let forger = try SoftwareTPM(in: "\(temporary.path)/forger")
        let extraData = try ProofBinding.guest(nonce: ProofUnderTest.nonce, peer: ProofUnderTest.nobody)
        let forged = try ContainerTPM(over: forger).quote(ProofBundle.guestPCRs, extraData)
        let found = try host.problems(host.bundle(guest: ProofBundle.Quote(forged.key, forged.quote)))
        #expect(found.first == .anotherTPM)
        // With the real key's public part the signature is not right.
        let real = try host.guestQuote().key
        let named = try host.problems(host.bundle(guest: ProofBundle.Quote(real, forged.quote)))
        #expect(named == [.guestSignature])
    }

    /// Even with the TPM's own key, which whoever takes a worker over has, the launch is what the host has measured.
    @Test func aLaunchThatTheTPMAloneClaimsCountsForNothing() throws {
        var claimed = host.manifest
        claimed.launch = RunManifest.Launch(
            digest: [UInt8](repeating: 1, count: 32),
            instanceDigest: [UInt8](repeating: 2, count: 32),
            pcr17: [UInt8](repeating: 3, count: 32),
            pcr18: [UInt8](repeating: 4, count: 32)
        )
        let found = try host.problems(host.bundle(manifest: claimed))
        #expect(found.contains(.launch(hex(claimed.launch.pcr17))) && found.contains(.anotherLog))
        #expect(found.contains(.guestPCR(17)) && found.contains(.guestPCR(18)))
    }

    // MARK: - Confusion

    /// One kind of statement is not taken for another, nor one label, one selection or one signature.
    @Test func oneKindIsNotTakenForAnother() throws {
        let good = try host.bundle()
        let counter = try #require(good.counter)
        // The host's quote in the container's place, and the other way round.
        let asGuest = try host.problems(good.with(guest: good.host))
        #expect(asGuest.contains(.anotherTPM) && asGuest.contains(.guestBinding) && asGuest.contains(.guestQuote))
        let asHost = try host.problems(good.with(host: good.guest))
        #expect(asHost.contains(.unknownHost(hex(try good.guest.key.name))) && asHost.contains(.hostBinding))
        // A quote as the counter's certificate, and none at all.
        #expect(try host.problems(good.with(counter: good.host.quote.attestation)) == [.anotherCounter])
        #expect(try host.problems(good.with(counter: nil)) == [.counterSignature])
        let signature = SignedAttestation(message: counter.message, signature: good.host.quote.attestation.signature)
        #expect(try host.problems(good.with(counter: signature)) == [.counterSignature])
        // Another selection of the same TPM, whose values would be others'.
        let all = PCRSelection(banks: [PCRSelection.Bank(algorithm: 0x000b, mask: 0x000f_0900)])
        let extraData = try ProofBinding.guest(nonce: good.nonce, peer: good.peer)
        let wide = try ContainerTPM(over: ContainerDevice(host.tpm)).quote(all, extraData)
        #expect(try host.problems(host.bundle(guest: ProofBundle.Quote(wide.key, wide.quote))) == [.guestQuote])
    }

    @Test func valuesThatAreNotQuotedAreRefused() throws {
        let good = try host.bundle()
        func changed(_ part: ProofBundle.Quote) -> ProofBundle.Quote {
            var values = part.quote.values
            values[0] = [UInt8](repeating: 9, count: 32)
            return ProofBundle.Quote(part.key, PCRQuote(part.quote.attestation, part.quote.selection, values: values))
        }
        let bundle = good.with(guest: changed(good.guest), host: changed(good.host))
        #expect(try host.problems(bundle) == [.hostPCRValues, .guestPCRValues])
    }

    // MARK: - The host and time

    @Test func aHostThatWasBootedOtherwiseIsRefused() throws {
        try host.hostTPM.extend(7)
        let found = try host.problems(host.bundle())
        guard case .hostPCR(7, let value)? = found.first, found.count == 1 else {
            Issue.record("\(found)")
            return
        }
        #expect(value != String(repeating: "00", count: 32))
        let other = try ProofPolicy(
            parsing: Array(
                """
                {"version": 1, "hosts": [{"name": "edge", "attestationKey": "\(hex(try host.hostKey.key.name))",
                "pcrs": {"16": []}}], "states": ["web"]}
                """.utf8
            ),
            "it"
        )
        let verifier = ProofVerifier(other, nonce: ProofUnderTest.nonce, peer: ProofUnderTest.nobody)
        #expect(try verifier.problems(with: host.bundle()) == [.hostPCRMissing(16)])
    }

    @Test func aHostThatWentBackIsRefused() throws {
        let value = try #require(host.manifest.counter?.value)
        let earlier = try host.bundle()
        #expect(try host.problems(earlier, ", \"leastCounter\": \(value + 1)") == [.counterTooLow(value)])
        #expect(try host.problems(earlier, ", \"leastGeneration\": 99") == [.generation(host.manifest.generation)])
        // The manifest is later than the counter.
        var later = host.manifest
        later.counter = RunManifest.Counter(index: 0x0180_0001, name: host.counter.name, value: value + 1)
        #expect(try host.problems(host.bundle(manifest: later)) == [.counterWentBack(value)])
        // A counter that was defined again goes on, and has another name.
        let tpm = HostTPM(transport: host.hostTPM)
        try tpm.undefineCounter(host.counter.index)
        _ = try tpm.defineCounter(host.counter.index)
        let error = #expect(throws: Failure.self) { try host.bundle() }
        #expect(error?.why == "the counter 0x01800001 is another than when the container was started")
    }

    @Test func aPolicyAsksForWhatIsNotThere() throws {
        var bare = host.manifest
        bare.counter = nil
        bare.software = RunManifest.Software(version: "", libtpms: "", digests: [:])
        let bundle = try host.bundle(manifest: bare)
        let without = bundle.with(counter: nil)
        #expect(try host.problems(without) == [])
        #expect(try host.problems(without, ", \"leastCounter\": 1") == [.noCounter])
        #expect(
            try host.problems(without, ", \"software\": {\"vtpm-worker\": [\"cc\"]}") == [
                .softwareUnknown("vtpm-worker")
            ]
        )
        #expect(
            try host.problems(host.bundle(), ", \"software\": {\"vtpm-worker\": [\"dd\"]}") == [
                .software("vtpm-worker", "cc")
            ]
        )
        #expect(try host.problems(host.bundle(), ", \"images\": [\"sha256:ab\"]") == [.image("sha256:aa")])
        #expect(try host.problems(host.bundle(), ", \"states\": [\"other\"]") == [.state("web")])
        #expect(
            try host.problems(host.bundle(), ", \"quotingKeys\": [\"00\"]") == [
                .quotingKey(hex(host.manifest.quotingKey))
            ]
        )
    }

    /// An image that nobody names, and a root that nobody measures, are refused where the policy asks for them.
    @Test func whatIsNotStatedIsRefused() throws {
        let statement = #"{"image":{"digest":"not stated"},"root":{"content":"not measured"}}"#
        let second = try ProofUnderTest(in: temporary, stateID: "second", statement: statement)
        let found = try second.problems(second.bundle(), ", \"images\": [\"sha256:aa\"], \"root\": \"measured\"")
        #expect(found == [.image("not stated"), .root])
        let roots = try second.problems(second.bundle(), ", \"roots\": [\"not measured\"]")
        #expect(roots == [.anotherRoot("not measured")])
        // Another directory of the same verified file system.
        let verified = #"{"image":{"digest":"x"},"root":{"content":{"dmVerity":"sha256:bb","path":"/other"}}}"#
        let third = try ProofUnderTest(in: temporary, stateID: "third", statement: verified)
        for allowed in ["sha256:bb", "/other"] {
            let problems = try third.problems(third.bundle(), ", \"roots\": [\"\(allowed)\"]")
            #expect(problems == [.anotherRoot("sha256:bb/other")])
        }
        #expect(try third.problems(third.bundle(), ", \"roots\": [\"sha256:bb/other\"]") == [])
        // A root that is measured as another.
        #expect(try host.problems(host.bundle(), ", \"roots\": [\"sha256:bb\"]") == [])
        #expect(try host.problems(host.bundle(), ", \"roots\": [\"sha256:cc\"]") == [.anotherRoot("sha256:bb")])
    }
}
