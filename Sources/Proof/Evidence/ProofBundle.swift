import CLinux
import Glibc
import Platform
import RuntimeHostTPM
import RuntimePCR

/// What proves which container runs on which host, with which TPM: a directory whose files are those that stock tools read.
///
/// | file | what it has |
/// |---|---|
/// | `proof.json` | nonce, digest of the peer's key, place in the tree of requests |
/// | `manifest.json` | ``RunManifest`` |
/// | `launch.log` | the event log of the launch |
/// | `guest.msg`, `guest.sig`, `guest.pcrs`, `guest.pub`, `guest.pem` | the quote of the container's TPM, and its key |
/// | `host.msg`, `host.sig`, `host.pcrs`, `host.pub`, `host.pem` | the quote of the host's TPM, and its key |
/// | `counter.msg`, `counter.sig` | the host's counter, as its TPM certifies it, where there is one |
public struct ProofBundle: Equatable, Sendable {
    /// A TPM's quote, and the key that has signed it.
    public struct Quote: Equatable, Sendable {
        package let key: QuotingKey
        package let quote: PCRQuote

        /// Puts both together.
        package init(_ key: QuotingKey, _ quote: PCRQuote) {
            self.key = key
            self.quote = quote
        }
    }

    /// The verifier's nonce.
    public let nonce: [UInt8]
    /// The SHA-256 of the key of whom the proof is for; zeros if it is for nobody's.
    public let peer: [UInt8]
    /// Where the request is in the tree that the host has signed.
    public let path: MerkleTree.Path
    /// The bytes of the manifest.
    public let manifest: [UInt8]
    /// The bytes of the launch's event log.
    public let launchLog: [UInt8]
    /// The quote of the container's TPM.
    public let guest: Quote
    /// The quote of the host's TPM.
    public let host: Quote
    /// The host's counter; nil if there is none.
    package let counter: SignedAttestation?

    /// Puts a bundle together.
    package init(
        nonce: [UInt8],
        peer: [UInt8],
        path: MerkleTree.Path,
        manifest: [UInt8],
        launchLog: [UInt8],
        guest: Quote,
        host: Quote,
        counter: SignedAttestation?
    ) {
        self.nonce = nonce
        self.peer = peer
        self.path = path
        self.manifest = manifest
        self.launchLog = launchLog
        self.guest = guest
        self.host = host
        self.counter = counter
    }

    /// The PCRs in the quote of the container's TPM: those that a launch is measured into.
    package static let guestPCRs = PCRSelection(banks: [PCRSelection.Bank(algorithm: 0x000b, mask: 0x0006_0900)])

    /// What the host has signed of it.
    public func hostLeaf() throws(Failure) -> [UInt8] {
        let attestation = guest.quote.attestation
        return try ProofBinding.hostLeaf(
            nonce: nonce,
            guestQuote: attestation.message,
            signature: attestation.signature,
            manifest: manifest
        )
    }
}

// MARK: - The files

extension ProofBundle {
    /// The names of all files.
    private static let names =
        ["proof.json", "manifest.json", "launch.log", "counter.msg", "counter.sig"]
        + ["guest", "host"].flatMap { name in ["msg", "sig", "pcrs", "pub", "pem"].map { "\(name).\($0)" } }

    /// The files.
    public func files() -> EvidenceFiles {
        var files = EvidenceFiles()
        files.add("proof.json", ProofHead(nonce: nonce, peer: peer, path: path).encoded)
        files.add("manifest.json", manifest)
        files.add("launch.log", launchLog)
        for (name, part) in [("guest", guest), ("host", host)] {
            files.add("\(name).msg", part.quote.attestation.message)
            files.add("\(name).sig", part.quote.attestation.signature)
            if let bank = part.quote.selection.banks.first {
                files.add("\(name).pcrs", PCRFile.encode(bank, part.quote.values))
            }
            files.add("\(name).pub", part.key.publicFile)
            files.add("\(name).pem", Array(pem("PUBLIC KEY", part.key.publicKey).utf8))
        }
        if let counter {
            files.add("counter.msg", counter.message)
            files.add("counter.sig", counter.signature)
        }
        return files
    }

    /// Reads a directory, or a file with the collection; what it says is checked by nobody yet.
    public init(reading path: String) throws(Failure) {
        let opened = try Descriptor.open(path, OpenOptions(O_RDONLY | O_NONBLOCK | O_NOCTTY))
        if try opened.status(path).st_mode & S_IFMT == S_IFDIR {
            try self.init(EvidenceFiles(Self.names, inDirectory: path))
        } else {
            let content = try Descriptor.openFile(path, .read).readAll(limit: EvidenceFiles.collectionLimit, path)
            try self.init(EvidenceFiles(Self.names, inCollection: content, path))
        }
    }

    private init(_ files: EvidenceFiles) throws(Failure) {
        let head = try ProofHead(parsing: files.content(of: "proof.json"), "\(files.path)/proof.json")
        var counter: SignedAttestation?
        if let message = files.find("counter.msg") {
            counter = SignedAttestation(message: message, signature: try files.content(of: "counter.sig"))
        }
        self.init(
            nonce: head.nonce,
            peer: head.peer,
            path: head.path,
            manifest: try files.content(of: "manifest.json"),
            launchLog: try files.content(of: "launch.log"),
            guest: try Self.quote("guest", files),
            host: try Self.quote("host", files),
            counter: counter
        )
    }

    private static func quote(_ name: String, _ files: EvidenceFiles) throws(Failure) -> Quote {
        let path = files.path
        let attestation = SignedAttestation(
            message: try files.content(of: "\(name).msg"),
            signature: try files.content(of: "\(name).sig")
        )
        guard let key = QuotingKey(publicFile: try files.content(of: "\(name).pub")) else {
            throw Failure("cannot use \(path)/\(name).pub", because: "it is no restricted key of a kind that is known")
        }
        // Whoever takes the one for the other must not be deceived.
        if let text = files.find("\(name).pem"), text != Array(pem("PUBLIC KEY", key.publicKey).utf8) {
            throw Failure("cannot use \(path)/\(name).pem", because: "it is not the key of \(name).pub")
        }
        guard case .quote(let selection, _)? = AttestationMessage(decoding: attestation.message)?.content,
            let bank = selection.banks.first
        else { throw Failure("cannot use \(path)/\(name).msg", because: "it is no quote that a TPM has made") }
        guard let values = PCRFile.decode(try files.content(of: "\(name).pcrs"), bank) else {
            throw Failure("cannot use \(path)/\(name).pcrs", because: "it has not the values of the quoted PCRs")
        }
        return Quote(key, PCRQuote(attestation, selection, values: values))
    }
}
