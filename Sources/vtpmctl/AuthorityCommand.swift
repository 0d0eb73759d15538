import ArgumentParser
import AuthorityClient
import Configuration
import Platform
import Proof
import RuntimeControl
import RuntimeKeys

/// The commands for the host's certificate authority.
struct AuthorityCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "ca",
        abstract: "Shows the host's certificate authority, and revokes its certificates.",
        subcommands: [AuthorityShow.self, AuthorityRevoke.self, AuthorityList.self]
    )
}

struct AuthorityShow: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "show",
        abstract: "Prints the authority's certificate in PEM, and those above it.",
        discussion: """
            Verifiers of the host's TPMs trust this certificate. The authority's key is made at first use, also by this command, \
            unless the configuration names one of the operator's.
            """
    )

    @OptionGroup var host: HostOptions

    func run() throws {
        try report("reading the certificate authority") { () throws(Failure) in
            let hostPaths = try host.hostPaths()
            let chain = try HostContext.withKeysLock(hostPaths, shared: true) { () throws(Failure) in
                let files = try host.configuration().authority.files
                return try CertificateAuthority(hostPaths, keys: host.open(hostPaths).keys, files: files).chain()
            }
            // The operator's own are in PEM already.
            let texts = chain.map {
                $0.starts(with: "-----".utf8) ? String(decoding: $0, as: UTF8.self) : pem("CERTIFICATE", $0)
            }
            try Output.write(text: texts.joined())
        }
    }
}
