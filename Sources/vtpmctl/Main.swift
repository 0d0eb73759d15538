import ArgumentParser
import Glibc
import Platform

/// `vtpmctl`: what the operator asks and orders.
@main
struct VTPMControl: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "vtpmctl",
        abstract: "Shows and manages the TPMs that containers have.",
        subcommands: [List.self, StateCommand.self, KeyCommand.self, Version.self]
    )
}

/// The version of this program.
struct Version: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Prints the version.")

    func run() {
        print("vtpmctl \(productVersion)")
    }
}
