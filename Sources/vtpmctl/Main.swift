import ArgumentParser
import Glibc
import Platform

/// `vtpmctl`: what the operator asks and orders.
@main
struct VTPMControl: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "vtpmctl",
        abstract: "Shows and manages the TPMs that containers have.",
        subcommands: [List.self, LogCommand.self, StateCommand.self, KeyCommand.self, Version.self]
    )

    static func main() {
        // It holds keys and states: no core dump, no other configuration of libcrypto than the host's.
        HostOptions.credentialsDirectory = getenv("CREDENTIALS_DIRECTORY").map { String(cString: $0) }
        do throws(Failure) {
            try Hardening.protectMemory()
            for name in ["OPENSSL_CONF", "OPENSSL_CONF_INCLUDE", "OPENSSL_MODULES", "OPENSSL_ENGINES"] {
                unsetenv(name)
            }
        } catch {
            complain("vtpmctl: \(error)")
            Glibc.exit(1)
        }
        main(nil)
    }
}

/// The version of this program.
struct Version: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Prints the version.")

    func run() {
        print("vtpmctl \(productVersion)")
    }
}
