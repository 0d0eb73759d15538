import ArgumentParser
import Configuration
import Crypto
import Glibc
import Platform
import Proof
import RuntimeControl
import RuntimeHostTPM
import RuntimeKeys

/// `vtpmctl host`: the key by which this host attests.
struct HostCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "host",
        abstract: "Makes this host known to those who verify what its containers prove.",
        subcommands: [HostEnroll.self, HostActivate.self, HostShow.self]
    )
}

/// Which endorsement key of the host's TPM is used.
struct EndorsementKeyOption: ParsableArguments {
    enum Name: String, CaseIterable, ExpressibleByArgument {
        case rsa = "rsa-2048"
        case p256 = "ecc-nist-p256"
    }

    @Option(
        name: .customLong("endorsement-key"),
        help: "The endorsement key of the host's TPM; without it, that which has a certificate."
    )
    var name: Name?

    var kind: IdentityKey.Kind? { name.flatMap { IdentityKey.Kind(rawValue: $0.rawValue) } }
}

struct HostEnroll: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "enroll",
        abstract: "Writes what a verifier needs to know this host by its TPM.",
        discussion: """
            Makes a new directory with the public part of the host's attestation key, which is made at first, and the endorsement \
            key of the host's TPM with its maker's certificate, where the TPM has one. The verifier makes a secret for both with \
            tpm2_makecredential, and vtpmctl host activate opens it.
            """
    )

    @OptionGroup var host: HostOptions
    @OptionGroup var endorsementKey: EndorsementKeyOption
    @Option(
        name: .customLong("attestation-key"),
        help: "The kind of the attestation key; RSA is for verifiers that take no other. The default is ecc-nist-p256."
    )
    var kind: QuotingKey.Kind?
    @Flag(
        name: .customLong("new"),
        help: "Make another attestation key: verifiers will not know the one before any more."
    )
    var makesNew = false
    @OptionGroup var confirmation: ConfirmationOptions
    @Argument(help: "The directory that is made.", completion: .directory)
    var directory: String

    func run() throws {
        try report("enrolling the host") { () throws(Failure) in
            if makesNew { try confirmation.require("make another attestation key", typing: "new") }
            let tpm = try HostTPM.open(configured: host.configuration().hostTPM.device)
            let endorsement = try tpm.endorsement(endorsementKey.kind)
            // Before the key: one that replaces another is not made for nothing.
            try EvidenceFiles.write(to: directory) { (files) throws(Failure) in
                try add(attestationKey(tpm, endorsement.key), endorsement, to: &files)
            }
            // The name is in the directory as well, and `host show` prints it.
            try Output.write(line: "endorsement key: \(endorsement.key.kind.rawValue)")
            if endorsement.certificate == nil {
                complain("vtpmctl: the host's TPM has no certificate of its maker's for this endorsement key")
            }
        }
    }

    /// Returns the key that the host has by now, once its TPM has used it.
    private func attestationKey(_ tpm: HostTPM, _ endorsement: IdentityKey) throws(Failure) -> QuotingKey {
        let hostPaths = try host.hostPaths()
        func make() throws(Failure) -> AttestationKeyFile.Contents {
            let authorization = try WrappedAttestationKey.makeAuthorization()
            let key = try tpm.makeAttestationKey(authorization, kind ?? .p256, for: endorsement)
            return .init(key, authorization)
        }
        // Without the lock, for which hooks wait: a TPM takes its time.
        let another = makesNew ? try make() : nil
        let contents = try HostContext.withKeysLock(hostPaths, shared: another == nil) { () throws(Failure) in
            let keys = try host.open(hostPaths).keys
            let file = AttestationKeyFile(hostPaths)
            guard let another else { return try file.loadOrStore(keys, make) }
            try file.replace(with: another, keys)
            return another
        }
        let what = "cannot use the host's attestation key"
        let key = contents.wrapped.key
        guard kind == nil || kind == key.kind else {
            throw Failure(
                what,
                because: "the host has one of the kind \(key.kind.rawValue)",
                hint: "add --new: verifiers will not know the one before any more"
            )
        }
        // Who has stood between the host and its TPM when the key was made, with an endorsement key of his own, knows its value.
        guard try contents.wrapped.endorsementName == endorsement.name else {
            throw Failure(
                what,
                because: "it was made for another endorsement key of the host's TPM",
                hint: "name that with --endorsement-key, or make another one: --new"
            )
        }
        // A backup of another host can have brought one.
        try tpm.withAttestationKey(contents.wrapped, contents.authorization, what) { (_) throws(Failure) in }
        return key
    }

    private func add(
        _ key: QuotingKey,
        _ endorsement: HostEndorsement,
        to files: inout EvidenceFiles
    ) throws(Failure) {
        let name = Hexadecimal.encode(try key.name)
        files.add("attestation-key.pub", key.publicFile)
        files.add("attestation-key.name", Array("\(name)\n".utf8))
        files.add("endorsement-key.pub", endorsement.key.publicFile)
        if let certificate = endorsement.certificate { files.add("endorsement-key.der", certificate) }
    }
}

struct HostActivate: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "activate",
        abstract: "Opens the secret by which a verifier learns that the attestation key is in this host's TPM.",
        discussion: """
            The file is what tpm2_makecredential has written for the two keys of vtpmctl host enroll. Prints the secret, which goes \
            back to the verifier.
            """
    )

    @OptionGroup var host: HostOptions
    @OptionGroup var endorsementKey: EndorsementKeyOption
    @Argument(help: "The file of tpm2_makecredential.", completion: .file())
    var file: String

    func run() throws {
        try report("opening the secret") { () throws(Failure) in
            let content = try Descriptor.openFile(file, .read).readAll(limit: CredentialFile.sizeLimit, file)
            guard let credential = CredentialFile(decoding: content) else {
                throw Failure("cannot read \(file)", because: "it is no credential of tpm2_makecredential")
            }
            let tpm = try HostTPM.open(configured: host.configuration().hostTPM.device)
            let kind: IdentityKey.Kind
            if let chosen = endorsementKey.kind { kind = chosen } else { kind = try tpm.endorsement(nil).key.kind }
            let contents = try host.attestationKey()
            let secret = try tpm.activate(credential, contents.wrapped, contents.authorization, by: kind)
            try Output.write(binary: secret)
        }
    }
}

struct HostShow: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "show",
        abstract:
            "Prints the name of the host's attestation key, by which verifiers know the host, and the public key in PEM."
    )

    @OptionGroup var host: HostOptions

    func run() throws {
        try report("reading the attestation key") { () throws(Failure) in
            let key = try host.attestationKey().wrapped.key
            try Output.write(text: "\(Hexadecimal.encode(try key.name))\n\(pem("PUBLIC KEY", key.publicKey))")
        }
    }
}

extension HostOptions {
    /// Loads the key by which this host attests.
    func attestationKey() throws(Failure) -> AttestationKeyFile.Contents {
        let hostPaths = try hostPaths()
        let contents = try HostContext.withKeysLock(hostPaths, shared: true) { () throws(Failure) in
            guard try AttestationKeyFile(hostPaths).exists() else { return AttestationKeyFile.Contents?.none }
            return try AttestationKeyFile(hostPaths).load(open(hostPaths).keys)
        }
        guard let contents else {
            throw Failure(
                "cannot use the host's attestation key",
                because: "it has none yet",
                hint: "vtpmctl host enroll makes it"
            )
        }
        return contents
    }
}

extension QuotingKey.Kind: ExpressibleByArgument {}
