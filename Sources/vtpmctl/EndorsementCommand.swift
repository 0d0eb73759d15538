import ArgumentParser
import Platform
import RuntimeEndorsement
import RuntimeHostTPM

/// `vtpmctl ek`: who a TPM is, as the host knows it.
struct EndorsementCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "ek",
        abstract: "Prints a TPM's endorsement keys and their certificates.",
        discussion: """
            From the host's own record, and not from the TPM: a container cannot choose what is printed. The container need \
            not run. Verifiers that know keys in place of certificates have them registered so.
            """
    )

    /// What `--print` prints.
    enum Part: String, CaseIterable, ExpressibleByArgument {
        case publicKey = "public-key"
        case tpm2bPublic = "tpm2b-public"
        case sha256
        case name
        case registrationID = "registration-id"
        case certificate
        case platformCertificate = "platform-certificate"
        case chain
    }

    @OptionGroup var host: HostOptions
    @Argument(help: "A container's ID, or a state's.", completion: .states)
    var name: String
    @Flag(help: "Print a JSON object.")
    var json = false
    @Option(name: .customLong("print"), help: "Print one value alone, of the key that --key names.")
    var part: Part?
    @Option(
        help:
            "The key whose value --print prints: \(IdentityKey.Kind.allCases.map(\.rawValue).joined(separator: ", "))."
    )
    var key = IdentityKey.Kind.rsa.rawValue

    func validate() throws {
        guard !json || part == nil else { throw ValidationError("Give one of --json and --print.") }
        guard IdentityKey.Kind(rawValue: key) != nil else { throw ValidationError("There is no key \(key).") }
    }

    func run() throws {
        try report("reading the TPM's identity") { () throws(Failure) in
            let shown = try EndorsementReport(EndorsementLookup(host: host, name: name).record())
            guard let part else { return try json ? Output.write(json: shown) : Output.write(lines: shown.lines) }
            try Output.write(text: value(of: part, shown))
        }
    }

    private func value(of part: Part, _ shown: EndorsementReport) throws(Failure) -> String {
        if part == .chain, !shown.chain.isEmpty { return shown.chain.joined() }
        if part == .platformCertificate {
            guard let certificate = shown.platformCertificate else {
                throw Failure("cannot print the platform's certificate", because: "the TPM has none")
            }
            return certificate
        }
        let keys = shown.endorsementKeys + shown.deviceIdentities
        guard let key = keys.first(where: { $0.algorithm == key }) else {
            throw Failure("cannot print the key \(key)", because: "the TPM has none of this kind")
        }
        switch part {
        case .publicKey: return key.publicKey
        case .tpm2bPublic: return key.tpm2bPublic + "\n"
        case .sha256: return key.sha256 + "\n"
        case .name: return key.name + "\n"
        case .registrationID: return key.registrationID + "\n"
        case .certificate, .chain, .platformCertificate:
            guard let certificate = key.certificate, part == .certificate else {
                throw Failure(
                    "cannot print the certificate of the key \(key.algorithm)",
                    because: key.obstacle ?? "none was asked for when its record was made"
                )
            }
            return certificate
        }
    }
}
