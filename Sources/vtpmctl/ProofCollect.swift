import ArgumentParser
import Configuration
import Crypto
import CryptoPrimitives
import Glibc
import Platform
import Proof
import RuntimeControl
import RuntimeHostTPM
import RuntimeKeys
import RuntimeLease
import RuntimePCR

/// What a proof is made for.
struct ProofPurpose: ParsableArguments {
    @Option(help: "The verifier's nonce, in hexadecimal digits: 8 to 64 bytes.")
    var nonce: String

    @Option(
        name: .customLong("peer-key"),
        help:
            "The SHA-256 of the key of whom the proof is for, such as that of a TLS connection, in hexadecimal digits."
    )
    var peerKey: String?

    /// The nonce, and the digest of the peer's key, or zeros.
    func decoded() throws(Failure) -> (nonce: [UInt8], peer: [UInt8]) {
        guard let nonce = Hexadecimal.decode(nonce), ProofBinding.nonceSizes.contains(nonce.count) else {
            throw Failure("cannot use the nonce", because: "it is not 8 to 64 bytes in hexadecimal digits")
        }
        guard let peerKey else { return (nonce, [UInt8](repeating: 0, count: ProofBinding.peerSize)) }
        guard let peer = Hexadecimal.decode(peerKey), peer.count == ProofBinding.peerSize else {
            throw Failure(
                "cannot use the digest of the peer's key",
                because: "it is not 32 bytes in hexadecimal digits"
            )
        }
        return (nonce, peer)
    }
}

struct ProofCollect: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "collect",
        abstract: "Makes a directory with the proof of what a container runs, on which host, and with which TPM.",
        discussion: """
            Its files are those that the tools of others read: docs/proof.md. The host needs a TPM and an attestation key, which \
            vtpmctl host enroll makes.
            """
    )

    @OptionGroup var host: HostOptions
    @OptionGroup var purpose: ProofPurpose
    @Argument(help: "The container's ID.", completion: .containers)
    var container: String
    @Flag(
        help:
            "Make one file with all of it, a collection of conceptual messages (CMW) in JSON, in place of a directory."
    )
    var cmw = false
    @Argument(help: "The directory that is made, or with --cmw the file.", completion: .directory)
    var output: String

    func run() throws {
        try report("collecting the proof") { () throws(Failure) in
            let (nonce, peer) = try purpose.decoded()
            let run = try recorded()
            let manifest = try RunManifest(reading: run.manifest, "the manifest of \"\(container.excerpt)\"")
            let tpm = try ContainerTPM(number: run.lease.tpmNumber, device: run.lease.tpmrm)
            let guest = try tpm.quote(ProofBundle.guestPCRs, ProofBinding.guest(nonce: nonce, peer: peer))
            try check(guest.key, against: manifest)
            let leaf = try ProofBinding.hostLeaf(
                nonce: nonce,
                guestQuote: guest.quote.attestation.message,
                signature: guest.quote.attestation.signature,
                manifest: run.manifest
            )
            let proven = try prove(MerkleTree.root(of: [leaf]), manifest)
            let bundle = ProofBundle(
                nonce: nonce,
                peer: peer,
                path: .alone,
                manifest: run.manifest,
                launchLog: run.log,
                guest: ProofBundle.Quote(guest.key, guest.quote),
                host: proven.host,
                counter: proven.counter
            )
            guard cmw else { return try bundle.files().write(to: output) }
            let options = OpenOptions(O_WRONLY | O_CREAT | O_EXCL, mode: 0o666)
            try Descriptor.open(output, options).writeAll(bundle.files().collection + [UInt8(ascii: "\n")], output)
        }
    }

    private struct Run {
        let lease: Lease
        let manifest: [UInt8]
        let log: [UInt8]
    }

    private func recorded() throws(Failure) -> Run {
        let what = "cannot prove what runs in"
        let found = try host.lease(of: container, what) { (opened, lease) throws(Failure) in
            (lease: lease, manifest: try opened.manifest(), log: try opened.launchLog())
        }
        guard let manifest = found.manifest, let log = found.log else {
            throw HostOptions.noManifest(what, of: container, isMeasured: found.log != nil)
        }
        return Run(lease: found.lease, manifest: manifest, log: log)
    }

    /// Throws if the TPM is not the one that the manifest is about, which would be of no use to anybody.
    private func check(_ key: QuotingKey, against manifest: RunManifest) throws(Failure) {
        let what = "cannot prove what runs in \"\(container.excerpt)\""
        guard !manifest.quotingKey.isEmpty else {
            throw Failure(
                what,
                because: "the host has no record of its TPM's keys, or knows them as another TPM's",
                hint: "vtpmctl ek shows it; certificates in [manufacture] has one made at the next start"
            )
        }
        guard try key.name == manifest.quotingKey else {
            throw Failure(what, because: "its TPM quotes with another key than the host has recorded")
        }
    }

    /// Has the host's TPM sign, with its PCRs and, where the host's index is bound to one, the counter.
    private func prove(
        _ root: [UInt8],
        _ manifest: RunManifest
    ) throws(Failure) -> (host: ProofBundle.Quote, counter: SignedAttestation?) {
        let key = try host.attestationKey()
        let configuration = try host.configuration()
        let tpm = try HostTPM.open(configured: configuration.hostTPM.device)
        let selection = try PCRSelection(parsing: configuration.proof.pcrs)
        let what = "cannot attest with the host's TPM"
        return try tpm.withAttestationKey(key.wrapped, key.authorization, what) { (loaded) throws(Failure) in
            let quote = try loaded.quote(selection, root)
            let counter = try manifest.counter.map { (counter) throws(Failure) in
                try loaded.certify(index: counter.index, named: counter.name, root)
            }
            return (ProofBundle.Quote(key.wrapped.key, quote), counter)
        }
    }
}

struct ProofVerify: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "verify",
        abstract: "Says whether a proof is what a policy wants, and if not, why.",
        discussion: """
            It needs no TPM, no right of root's and no network. docs/proof.md has the policy's members, and the same checks with \
            tools of others. It exits with 1 if the proof is refused.
            """
    )

    @OptionGroup var purpose: ProofPurpose
    @Option(help: "The policy, a JSON file.", completion: .file())
    var policy: String
    @Argument(help: "The directory, or the file, of vtpmctl proof collect.", completion: .file())
    var proof: String

    func run() throws {
        var isProven = false
        try report("verifying the proof") { () throws(Failure) in
            let (nonce, peer) = try purpose.decoded()
            let content = try Descriptor.openFile(policy, .read).readAll(limit: ProofPolicy.sizeLimit, policy)
            let policy = try ProofPolicy(parsing: content, policy)
            let bundle = try ProofBundle(reading: proof)
            let verifier = ProofVerifier(policy, nonce: nonce, peer: peer)
            let problems = try verifier.problems(with: bundle)
            isProven = problems.isEmpty
            guard isProven else { return try Output.write(lines: problems.map { "refused: \($0)".onOneLine }) }
            let manifest = try RunManifest(reading: bundle.manifest, "the manifest")
            let host = try verifier.hostName(of: bundle) ?? ""
            try Output.write(
                line: "proven: container \"\(manifest.container)\", state \"\(manifest.state)\", host \"\(host)\""
                    .onOneLine
            )
        }
        if !isProven { throw ExitCode.failure }
    }
}
