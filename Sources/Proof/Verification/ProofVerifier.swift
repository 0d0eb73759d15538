import CryptoDigests
import CryptoPrimitives
import JSONText
import Launch
import Platform
import RuntimeHostTPM
import RuntimePCR
import VTPMProxy

/// Decides whether a bundle proves what a policy wants, without a TPM and without the network.
///
/// What counts for the launch and for the keys is the manifest, which the host's TPM vouches for. The container's own quote shows only
/// that it has the TPM, now: whoever has taken that over can make it say anything else.
public struct ProofVerifier {
    private let policy: ProofPolicy
    private let nonce: [UInt8]
    private let peer: [UInt8]

    /// Creates a verifier that has given out this nonce, for a peer with a key of this digest, or zeros for none.
    public init(_ policy: ProofPolicy, nonce: [UInt8], peer: [UInt8]) {
        self.policy = policy
        self.nonce = nonce
        self.peer = peer
    }

    /// Returns what the policy calls the host of a bundle; nil if it does not know it.
    public func hostName(of bundle: ProofBundle) throws(Failure) -> String? {
        let name = try bundle.host.key.name
        return policy.hosts.first { $0.attestationKey == name }?.name
    }

    /// Returns why the bundle does not prove it: all reasons, or none if it does.
    public func problems(with bundle: ProofBundle) throws(Failure) -> [ProofProblem] {
        var found = ProofProblems()
        found.require(bundle.nonce == nonce, .anotherNonce)
        found.require(bundle.peer == peer, .anotherPeer)
        let manifest: RunManifest
        do throws(Failure) {
            manifest = try RunManifest(reading: bundle.manifest, "the manifest")
        } catch {
            return found.all + [.manifest("\(error)")]
        }
        try checkHost(bundle, &found)
        try checkGuest(bundle, manifest, &found)
        try checkLaunch(bundle, manifest, &found)
        try checkCounter(bundle, manifest, &found)
        checkRun(manifest, &found)
        return found.all
    }

    // MARK: - The host

    private func checkHost(_ bundle: ProofBundle, _ found: inout ProofProblems) throws(Failure) {
        let name = try bundle.host.key.name
        let host = policy.hosts.first { $0.attestationKey == name }
        found.require(host != nil, .unknownHost(Hexadecimal.encode(name)))
        guard let message = bundle.host.quote.attestation.content(signedBy: bundle.host.key) else {
            return found.add(.hostSignature)
        }
        let root = try MerkleTree.root(from: bundle.hostLeaf(), by: bundle.path)
        found.require(message.extraData == root, .hostBinding)
        guard case .quote(let selection, let digest) = message.content, let bank = selection.banks.first,
            bank.algorithm == DigestAlgorithm.sha256.rawValue
        else { return found.add(.hostQuote) }
        let values = bundle.host.quote.values
        guard try DigestAlgorithm.sha256.digest(values.flatMap { $0 }) == digest else {
            return found.add(.hostPCRValues)
        }
        let quoted = Dictionary(uniqueKeysWithValues: zip(bank.pcrs, values))
        for (pcr, allowed) in (host?.pcrs ?? [:]).sorted(by: { $0.key < $1.key }) {
            guard let value = quoted[pcr] else {
                found.add(.hostPCRMissing(pcr))
                continue
            }
            found.require(allowed.contains(value), .hostPCR(pcr, Hexadecimal.encode(value)))
        }
    }

    // MARK: - The container's TPM

    private func checkGuest(
        _ bundle: ProofBundle,
        _ manifest: RunManifest,
        _ found: inout ProofProblems
    ) throws(Failure) {
        let guest = bundle.guest
        found.require(try guest.key.name == manifest.quotingKey, .anotherTPM)
        guard let message = guest.quote.attestation.content(signedBy: guest.key) else {
            return found.add(.guestSignature)
        }
        found.require(message.extraData == (try ProofBinding.guest(nonce: nonce, peer: peer)), .guestBinding)
        let resets = TPMResets(resetCount: message.resetCount, restartCount: message.restartCount)
        found.require(resets == manifest.resets, .anotherRun)
        guard case .quote(ProofBundle.guestPCRs, let digest) = message.content else { return found.add(.guestQuote) }
        guard try DigestAlgorithm.sha256.digest(guest.quote.values.flatMap { $0 }) == digest else {
            return found.add(.guestPCRValues)
        }
        let values = Dictionary(
            uniqueKeysWithValues: zip(ProofBundle.guestPCRs.banks.flatMap { $0.pcrs }, guest.quote.values)
        )
        let expected = [
            (LaunchPCR.instanceCopy, manifest.launch.pcr18), (LaunchPCR.launchCopy, manifest.launch.pcr17),
            (LaunchPCR.launch, manifest.launch.pcr17), (LaunchPCR.instance, manifest.launch.pcr18),
        ]
        for (pcr, value) in expected where values[Int(pcr)] != value { found.add(.guestPCR(Int(pcr))) }
    }

    // MARK: - The launch

    private func checkLaunch(
        _ bundle: ProofBundle,
        _ manifest: RunManifest,
        _ found: inout ProofProblems
    ) throws(Failure) {
        if let launches = policy.launches {
            let value = Hexadecimal.encode(manifest.launch.pcr17)
            found.require(launches.contains(manifest.launch.pcr17), .launch(value))
        }
        let log: LaunchLog
        do throws(Failure) {
            log = try LaunchLog(reading: bundle.launchLog, "the launch log")
        } catch {
            return found.add(.log("\(error)"))
        }
        let measured = RunManifest.Launch(
            digest: try DigestAlgorithm.sha256.digest(log.launch),
            instanceDigest: try DigestAlgorithm.sha256.digest(log.instance),
            pcr17: try LaunchLog.value(after: log.launch, .sha256),
            pcr18: try LaunchLog.value(after: log.instance, .sha256)
        )
        guard measured == manifest.launch else { return found.add(.anotherLog) }
        try checkStatement(log, &found)
    }

    private func checkStatement(_ log: LaunchLog, _ found: inout ProofProblems) throws(Failure) {
        let statement = try JSONText(
            parsing: log.launchStatement,
            path: "the statement about the launch",
            limit: LaunchStatement.configLimit
        )
        if let images = policy.images {
            let image = statement.value(at: ["image", "digest"])?.string ?? "not stated"
            found.require(images.contains { $0.utf8.elementsEqual(image.utf8) }, .image(image))
        }
        // What is measured is an object with a digest; else it is a string that says that nothing is.
        let content = statement.value(at: ["root", "content"])
        if policy.needsMeasuredRoot { found.require(content?.members?.isEmpty == false, .root) }
        if let roots = policy.roots {
            let root = Self.root(content)
            let isAllowed = roots.contains { $0.utf8.elementsEqual((root ?? "").utf8) } && root != nil
            found.require(isAllowed, .anotherRoot(root ?? "not measured"))
        }
    }

    /// The digest of the root file system, and where in a verified file system the root is, if that is not its own root; nil if it is
    /// not measured.
    private static func root(_ content: JSONValue?) -> String? {
        let path = content?["path"]?.string ?? "/"
        let digest = ["tree", "fsVerity", "dmVerity"].compactMap { content?[$0]?.string }.first
        return digest.map { path.utf8.elementsEqual("/".utf8) ? $0 : $0 + path }
    }

    // MARK: - The counter

    private func checkCounter(
        _ bundle: ProofBundle,
        _ manifest: RunManifest,
        _ found: inout ProofProblems
    ) throws(Failure) {
        guard let counter = manifest.counter else {
            return found.require(policy.leastCounter == nil && bundle.counter == nil, .noCounter)
        }
        guard let attestation = bundle.counter, let message = attestation.content(signedBy: bundle.host.key) else {
            return found.add(.counterSignature)
        }
        let root = try MerkleTree.root(from: bundle.hostLeaf(), by: bundle.path)
        found.require(message.extraData == root, .counterBinding)
        guard case .nv(counter.name, 0, let contents) = message.content, contents.count == 8 else {
            return found.add(.anotherCounter)
        }
        let value = contents.reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
        found.require(value >= counter.value, .counterWentBack(value))
        found.require(value >= policy.leastCounter ?? 0, .counterTooLow(value))
    }

    // MARK: - The run

    private func checkRun(_ manifest: RunManifest, _ found: inout ProofProblems) {
        if let states = policy.states {
            found.require(states.contains { $0.utf8.elementsEqual(manifest.state.utf8) }, .state(manifest.state))
        }
        if let keys = policy.quotingKeys {
            found.require(keys.contains(manifest.quotingKey), .quotingKey(Hexadecimal.encode(manifest.quotingKey)))
        }
        found.require(manifest.generation >= policy.leastGeneration, .generation(manifest.generation))
        for (name, allowed) in policy.software.sorted(by: { $0.key < $1.key }) {
            guard let digest = manifest.software.digests[name] else {
                found.add(.softwareUnknown(name))
                continue
            }
            found.require(allowed.contains(digest), .software(name, Hexadecimal.encode(digest)))
        }
    }
}

/// The reasons that were found so far.
private struct ProofProblems {
    private(set) var all: [ProofProblem] = []

    mutating func add(_ problem: ProofProblem) { all.append(problem) }

    mutating func require(_ isTrue: Bool, _ problem: @autoclosure () -> ProofProblem) {
        if !isTrue { all.append(problem()) }
    }
}
