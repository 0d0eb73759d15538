import ArgumentParser
import Configuration
import Crypto
import FoundationEssentials
import Platform
import RuntimeAdministration
import RuntimeControl
import RuntimeHostTPM

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
            let keys = try host.configuration().manufacture.keys
            let identity = try host.withNewRepository { (repository, hostPaths) throws(Failure) in
                try repository.requireNone(stateID, to: "create")
                let trial = TrialStart(worker: hostPaths.program("vtpm-worker"))
                let made = try trial.manufactureWithIdentity(keeping: keys)
                try repository.importState(stateID, made.state, verb: "create")
                var keys: [Identity.Key] = []
                for key in made.keys { keys.append(try Identity.Key(key)) }
                return Identity(stateID: stateID, endorsementKeys: keys)
            }
            try json ? Output.write(json: identity) : Output.write(lines: identity.lines)
        }
    }

    /// What is printed.
    private struct Identity: Encodable {
        struct Key: Encodable {
            let algorithm: String
            /// The SHA-256 of the SubjectPublicKeyInfo in DER.
            let sha256: String
            /// PEM, with line feeds.
            let publicKey: String

            init(_ key: EndorsementKey) throws(Failure) {
                algorithm = key.kind.rawValue
                sha256 = Hexadecimal.encode(try SHA256.digest(key.publicKey))
                publicKey = Self.pem(key.publicKey)
            }

            /// Encodes it in lines of 64 characters. RFC 7468, 13
            private static func pem(_ key: [UInt8]) -> String {
                var rest = Substring(Data(key).base64EncodedString())
                var lines = ["-----BEGIN PUBLIC KEY-----"]
                while !rest.isEmpty {
                    lines.append(String(rest.prefix(64)))
                    rest = rest.dropFirst(64)
                }
                return (lines + ["-----END PUBLIC KEY-----", ""]).joined(separator: "\n")
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
