import ArgumentParser
import AuthorityClient
import Platform
import RuntimeControl
import RuntimeKeys

/// The commands for the host's certificate authority.
struct AuthorityCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "ca",
        abstract: "Shows the host's certificate authority.",
        subcommands: [AuthorityShow.self]
    )
}

struct AuthorityShow: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "show",
        abstract: "Prints the authority's certificate in PEM, and those above it.",
        discussion: """
            Verifiers of the host's TPMs trust this certificate. The authority's key is made at first use, also by this command.
            """
    )

    @OptionGroup var host: HostOptions

    func run() throws {
        try report("reading the certificate authority") { () throws(Failure) in
            let hostPaths = try host.hostPaths()
            let chain = try HostContext.withKeysLock(hostPaths, shared: true) { () throws(Failure) in
                try CertificateAuthority(hostPaths, keys: host.open(hostPaths).keys).key().chain
            }
            try Output.write(text: chain.map { pem("CERTIFICATE", $0) }.joined())
        }
    }
}
