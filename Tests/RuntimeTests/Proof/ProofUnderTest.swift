import CryptoDigests
import Glibc
import Launch
import Platform
import Proof
import RuntimeControl
import RuntimeEndorsement
import RuntimePCR
import Testing
import VTPMProxy

@testable import RuntimeHostTPM

/// A host with a swtpm as its own TPM, and a container with a real vTPM on it; the manifest is put together as the hook does.
final class ProofUnderTest {
    let temporary: TemporaryDirectory
    let tpm: VTPMUnderTest
    let hostTPM: SoftwareTPM
    let hostKey: WrappedAttestationKey
    let authorization: SecretBytes
    let counter: CounterIdentity
    let log: LaunchLog
    var manifest: RunManifest

    static let statement = #"{"image":{"digest":"sha256:aa"},"root":{"content":{"tree":"sha256:bb"}}}"#
    static let nonce = Array("a verifier's nonce".utf8)
    static let nobody = [UInt8](repeating: 0, count: 32)

    /// Starts both; the worker can be another program.
    init(
        in temporary: TemporaryDirectory,
        stateID: String = "web",
        statement: String = statement,
        worker: String? = nil
    ) throws {
        self.temporary = temporary
        let event = TaggedEvent.launch.encoded(Array(statement.utf8))
        tpm = try VTPMUnderTest(
            in: temporary,
            stateID: stateID,
            worker: worker,
            tpmKeys: RequestedKeys(ofNew: StandardKeys(.endorsementP256), ofExisting: StandardKeys(.endorsementP256)),
            endorsement: .keys,
            measuring: event
        )
        try tpm.create()
        hostTPM = try SoftwareTPM(in: "\(temporary.path)/host-\(stateID)")
        let host = HostTPM(transport: hostTPM)
        authorization = try WrappedAttestationKey.makeAuthorization()
        hostKey = try host.makeAttestationKey(authorization, for: host.endorsement(.p256).key)
        counter = try host.defineCounter(0x0180_0001)
        log = LaunchLog(launch: event, instance: tpm.instance)
        let record = try #require(EndorsementRecord(decoding: tpm.endorsement))
        let quotingKey = try #require(QuotingKey(decoding: record.quotingKey))
        manifest = RunManifest(
            container: "container-\(stateID)",
            bundle: temporary.path,
            state: stateID,
            instance: try log.instanceUUID(),
            generation: tpm.started.generation,
            resets: tpm.started.resets,
            endorsementKeys: [:],
            quotingKey: try quotingKey.name,
            launch: RunManifest.Launch(
                digest: try DigestAlgorithm.sha256.digest(log.launch),
                instanceDigest: try DigestAlgorithm.sha256.digest(log.instance),
                pcr17: try LaunchLog.value(after: log.launch, .sha256),
                pcr18: try LaunchLog.value(after: log.instance, .sha256)
            ),
            counter: RunManifest.Counter(
                index: counter.index,
                name: counter.name,
                value: try host.readCounter(counter)
            ),
            software: RunManifest.Software(
                version: productVersion,
                libtpms: "\(tpm.library)",
                digests: ["vtpm-worker": [0xcc]]
            ),
            time: "2026-11-28T00:00:00Z"
        )
    }

    /// What the container's TPM says.
    func guestQuote(_ nonce: [UInt8] = nonce, peer: [UInt8] = nobody) throws -> ProofBundle.Quote {
        let found = try ContainerTPM(over: ContainerDevice(tpm)).quote(
            ProofBundle.guestPCRs,
            ProofBinding.guest(nonce: nonce, peer: peer)
        )
        return ProofBundle.Quote(found.key, found.quote)
    }

    /// A proof, in which parts can be others'.
    func bundle(
        nonce: [UInt8] = nonce,
        peer: [UInt8] = nobody,
        guest: ProofBundle.Quote? = nil,
        manifest: RunManifest? = nil,
        others: [[UInt8]] = [],
        hostPCRs: UInt32 = 0xffff
    ) throws -> ProofBundle {
        let guest = try guest ?? guestQuote(nonce, peer: peer)
        let text = (manifest ?? self.manifest).encoded
        let attestation = guest.quote.attestation
        let leaf = try ProofBinding.hostLeaf(
            nonce: nonce,
            guestQuote: attestation.message,
            signature: attestation.signature,
            manifest: text
        )
        let leaves = others + [leaf]
        let root = try MerkleTree.root(of: leaves)
        let selection = PCRSelection(banks: [PCRSelection.Bank(algorithm: 0x000b, mask: hostPCRs)])
        let host = HostTPM(transport: hostTPM)
        return try host.withAttestationKey(hostKey, authorization, "cannot attest") { (loaded) throws(Failure) in
            ProofBundle(
                nonce: nonce,
                peer: peer,
                path: try MerkleTree.path(to: others.count, in: leaves),
                manifest: text,
                launchLog: try log.encoded(),
                guest: guest,
                host: ProofBundle.Quote(hostKey.key, try loaded.quote(selection, root)),
                counter: try loaded.certify(index: counter.index, named: counter.name, root)
            )
        }
    }

    /// A policy that this host and this container fulfil, with more members.
    func policy(_ more: String = "") throws -> ProofPolicy {
        let pcr17 = hex(manifest.launch.pcr17)
        let text = """
            {"version": 1, "hosts": [{"name": "edge", "attestationKey": "\(hex(try hostKey.key.name))",
            "pcrs": {"7": ["\(String(repeating: "00", count: 32))"]}}], "launches": ["\(pcr17)"]\(more)}
            """
        return try ProofPolicy(parsing: Array(text.utf8), "the policy")
    }

    func problems(
        _ bundle: ProofBundle,
        nonce: [UInt8] = nonce,
        peer: [UInt8] = nobody,
        _ more: String = ""
    ) throws -> [ProofProblem] {
        try ProofVerifier(policy(more), nonce: nonce, peer: peer).problems(with: bundle)
    }
}

/// The device of a vTPM, as a client of the kernel's resource manager has it.
final class ContainerDevice: TPMTransport {
    private let tpm: VTPMUnderTest

    init(_ tpm: VTPMUnderTest) { self.tpm = tpm }

    func transmit(_ command: [UInt8]) throws(Failure) -> [UInt8] {
        do {
            return try tpm.transmit(command)
        } catch {
            throw Failure("cannot use the vTPM", because: "\(error)")
        }
    }
}

extension ProofBundle {
    /// The same with another part.
    func with(
        manifest: [UInt8]? = nil,
        log: [UInt8]? = nil,
        guest: Quote? = nil,
        host: Quote? = nil
    ) -> ProofBundle {
        ProofBundle(
            nonce: nonce,
            peer: peer,
            path: path,
            manifest: manifest ?? self.manifest,
            launchLog: log ?? launchLog,
            guest: guest ?? self.guest,
            host: host ?? self.host,
            counter: counter
        )
    }

    /// The same with another certificate of the counter, or with none.
    func with(counter: SignedAttestation?) -> ProofBundle {
        ProofBundle(
            nonce: nonce,
            peer: peer,
            path: path,
            manifest: manifest,
            launchLog: launchLog,
            guest: guest,
            host: host,
            counter: counter
        )
    }
}
