import ArgumentParser
import Platform
import RuntimeAdministration
import RuntimeControl
import RuntimeState

struct StateReset: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "reset",
        abstract: "Puts a state aside: the next start of its container makes a new TPM.",
        discussion: "The state must not be in use. The file is kept, see `vtpmctl state quarantine list`."
    )

    @OptionGroup var host: HostOptions
    @OptionGroup var confirmation: ConfirmationOptions
    @Argument(help: "The state's ID.", completion: .states)
    var stateID: String

    func run() throws {
        try report("putting the state aside") { () throws(Failure) in
            try confirmation.require("give \"\(stateID)\" a new TPM at its next start", typing: stateID)
            let place = try host.withRepository { (repository, hostPaths) throws(Failure) in
                try repository.reset(stateID, to: Quarantine(hostPaths.quarantine))
            }
            guard let place else { throw noState(stateID) }
            if let place { try Output.write(line: "The old state is in \(place.onOneLine).") }
        }
    }
}

struct QuarantineCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "quarantine",
        abstract: "What was put aside by `vtpmctl state reset` and `prune`.",
        subcommands: [QuarantineList.self]
    )
}

struct QuarantineList: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "list",
        abstract: "Lists all states that were put aside."
    )

    @OptionGroup var host: HostOptions
    @Flag(help: "Print a JSON array, one object for each state.")
    var json = false

    func run() throws {
        try report("reading the quarantine") { () throws(Failure) in
            let found = try Quarantine(host.hostPaths().quarantine).list { complain("vtpmctl: \($0)") }
            if json { return try Output.write(json: found) }
            try Output.write(
                table: [["STATE", "PUT ASIDE", "GENERATION", "KEY", "PATH"]]
                    + found.map { entry in
                        [
                            entry.stateID ?? "-", entry.time, entry.generation.map { "\($0)" } ?? "-",
                            entry.keyID.map { String($0.prefix(8)) } ?? "-", entry.path,
                        ]
                    }
            )
        }
    }
}
