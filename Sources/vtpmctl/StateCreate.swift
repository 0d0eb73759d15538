import ArgumentParser
import AuthorityClient
import Configuration
import Crypto
import Glibc
import Platform
import Proof
import RuntimeAdministration
import RuntimeControl
import RuntimeEndorsement
import RuntimeHostTPM
import RuntimeState
import VTPMProxy

/// `vtpmctl state create`: a TPM that is known before its first container.
struct StateCreate: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "create",
        abstract: "Makes the state of a new TPM, and prints the TPM's identity.",
        discussion: """
            There must be no state of this ID. The container that gets the state has the endorsement keys that are \
            printed, so that they can be registered before it starts. tpm2_createek shows them in the container.
            """
    )

    @OptionGroup var host: HostOptions
    @Argument(help: "The state's new ID.")
    var stateID: String
    @Flag(help: "Print a JSON object.")
    var json = false

    func run() throws {
        try report("creating the state") { () throws(Failure) in
            let configuration = try host.configuration()
            let manufacture = configuration.manufacture
            try host.withNewRepository { (repository, hostPaths) throws(Failure) in
                try repository.requireNone(stateID, to: "create")
                let level = manufacture.endorsement(isEphemeral: false)
                guard level != .none else { return try create(with: manufacture.provision, repository, hostPaths) }
                let orders = EndorsementOrders(
                    level: level,
                    keys: manufacture.keys,
                    containerID: "",
                    bundle: "",
                    image: "",
                    stateID: stateID,
                    time: UInt64(clamping: time(nil)),
                    platform: manufacture.platform,
                    listURL: configuration.authority.listURL,
                    chain: []
                )
                let files = configuration.authority.files
                let authority = CertificateAuthority(hostPaths, keys: repository.keys, files: files)
                try create(orders, manufacture.provision, by: authority, repository, hostPaths)
            }
        }
    }

    /// Creates a TPM that the certificate authority endorses.
    private func create(
        _ orders: EndorsementOrders,
        _ provision: TPMProvision,
        by authority: CertificateAuthority,
        _ repository: StateRepository,
        _ hostPaths: HostPaths
    ) throws(Failure) {
        let authority = try authority.start(orders)
        defer { authority.process.kill() }
        let instance = try Random.bytes(count: 16)
        let trial = TrialStart(worker: hostPaths.program("vtpm-worker"))
        let made = try trial.manufacture(with: provision, endorsedBy: authority.channel, as: instance)
        authority.process.end()
        guard let record = EndorsementRecord(decoding: made.endorsement) else {
            throw Failure("cannot create the state \"\(stateID)\"", because: "the record of its endorsement is damaged")
        }
        let shown = try EndorsementReport(record)
        try repository.importState(
            stateID,
            made.state,
            verb: "create",
            instance: instance,
            endorsement: made.endorsement
        )
        try json ? Output.write(json: shown) : Output.write(lines: shown.lines)
    }

    /// Creates a TPM without a record of its identity, since the configuration has it keep no endorsement key.
    private func create(
        with provision: TPMProvision,
        _ repository: StateRepository,
        _ hostPaths: HostPaths
    ) throws(Failure) {
        let trial = TrialStart(worker: hostPaths.program("vtpm-worker"))
        let made = try trial.manufactureWithIdentity(with: provision)
        try repository.importState(stateID, made.state, verb: "create")
        var keys: [Identity.Key] = []
        for key in made.keys { keys.append(try Identity.Key(key)) }
        let identity = Identity(stateID: stateID, endorsementKeys: keys)
        try json ? Output.write(json: identity) : Output.write(lines: identity.lines)
    }

    /// What is printed.
    private struct Identity: Encodable {
        struct Key: Encodable {
            let algorithm: String
            /// The SHA-256 of the SubjectPublicKeyInfo in DER.
            let sha256: String
            /// PEM, with line feeds.
            let publicKey: String

            init(_ key: IdentityKey) throws(Failure) {
                algorithm = key.kind.rawValue
                sha256 = Hexadecimal.encode(try SHA256.digest(key.publicKey))
                publicKey = pem("PUBLIC KEY", key.publicKey)
            }
        }

        let stateID: String
        let endorsementKeys: [Key]

        var lines: [String] {
            ["state: \(stateID.onOneLine)"]
                + endorsementKeys.flatMap { key in
                    ["endorsement key: \(key.algorithm), SHA-256 \(key.sha256)", String(key.publicKey.dropLast())]
                }
        }
    }
}
