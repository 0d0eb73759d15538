import ArgumentParser
import Glibc
import Platform
import RuntimeAdministration
import RuntimeState

/// The commands for the states of the host's TPMs.
struct StateCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "state",
        abstract: "Makes, shows, checks, moves and removes the states of TPMs.",
        subcommands: [
            StateCreate.self, StateList.self, StateShow.self, StateVerify.self, StateExportCommand.self,
            StateImportCommand.self, StateBackupCommand.self,
            StateRename.self, StateAccept.self, StateReset.self, StatePurge.self, StatePrune.self,
            QuarantineCommand.self,
        ]
    )
}

struct StateList: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "list",
        abstract: "Lists all states.",
        discussion: """
            A state is an orphan when nobody uses it and the bundle of the container that used it last is gone. Engines \
            that remove a bundle at each stop make every stopped container look so. A state that is named by a pod is none.
            """
    )

    @OptionGroup var host: HostOptions
    @Flag(help: "Print a JSON array, one object for each state.")
    var json = false

    func run() throws {
        try report("reading states") { () throws(Failure) in
            let summaries = try host.withRepository { (repository, _) throws(Failure) in
                try repository.summaries()
            }
            if json { return try Output.write(json: summaries ?? []) }
            try Output.write(
                table: [["STATE", "IN USE BY", "GENERATION", "SIZE", "KEY", "LAST USE", "ORPHAN", "PROBLEM"]]
                    + (summaries ?? []).map { state in
                        [
                            state.stateID, state.inUseBy ?? "-", state.generation.map { "\($0)" } ?? "-",
                            state.size.map { "\($0)" } ?? "-", state.keyID.map { String($0.prefix(8)) } ?? "-",
                            state.lastUse.map(timestamp) ?? "-", state.isOrphan ? "yes" : "no", state.problem ?? "-",
                        ]
                    }
            )
        }
    }
}

struct StateShow: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "show",
        abstract: "Prints what can be said about one state, as JSON."
    )

    @OptionGroup var host: HostOptions
    @Argument(help: "The state's ID.", completion: .states)
    var stateID: String

    func run() throws {
        try report("reading the state") { () throws(Failure) in
            let summary = try host.withRepository { (repository, _) throws(Failure) in
                try repository.summary(of: stateID)
            }
            guard let found = summary ?? nil else { throw noState(stateID) }
            try Output.write(json: found)
        }
    }
}

struct StateVerify: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "verify",
        abstract: "Decrypts and checks states, all of them where none is named; changes nothing."
    )

    @OptionGroup var host: HostOptions
    @Argument(help: ArgumentHelp("The IDs of the states.", valueName: "state-id"), completion: .states)
    var stateIDs: [String] = []

    func run() throws {
        try report("checking states") { () throws(Failure) in
            let results = try host.withRepository { (repository, _) throws(Failure) in
                guard !stateIDs.isEmpty else { return try repository.verifyAll { total in Progress.step(of: total) } }
                var results: [(stateID: String, problem: Failure?)] = []
                for stateID in stateIDs {
                    Progress.step(of: stateIDs.count)
                    do throws(Failure) {
                        try repository.verify(stateID)
                        results.append((stateID, nil))
                    } catch {
                        results.append((stateID, error))
                    }
                }
                return results
            }
            if results == nil, let first = stateIDs.first { throw noState(first) }
            try Output.write(
                lines: (results ?? []).map { stateID, problem in
                    problem.map { "bad: \(stateID.onOneLine): \($0)" } ?? "good: \(stateID.onOneLine)"
                }
            )
            let bad = (results ?? []).filter { $0.problem != nil }.count
            guard bad == 0 else {
                throw Failure("cannot use \(bad) of \(results?.count ?? 0) states", because: "see above")
            }
        }
    }
}

struct StateRename: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "rename",
        abstract: "Gives a state another ID.",
        discussion: "The state must not be in use. A rename that was interrupted is completed by the same command."
    )

    @OptionGroup var host: HostOptions
    @Argument(help: "The state's ID.", completion: .states)
    var stateID: String
    @Argument(help: "Its new ID.")
    var newID: String

    func run() throws {
        try report("renaming the state") { () throws(Failure) in
            let done: Void? = try host.withRepository { (repository, _) throws(Failure) in
                try repository.rename(stateID, to: newID)
            }
            guard done != nil else { throw noState(stateID) }
        }
    }
}

struct StateAccept: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "accept",
        abstract: "Takes a state as it is on disk for the newest.",
        discussion: """
            For a state that was restored from a backup or copied to this host on purpose. Whoever put an older state \
            there by stealth gains from this too: be sure where the file comes from.
            """
    )

    @OptionGroup var host: HostOptions
    @OptionGroup var confirmation: ConfirmationOptions
    @Argument(help: "The state's ID.", completion: .states)
    var stateID: String?
    @Flag(help: "All states, with a new index and, where it is bound to one, a new counter.")
    var all = false

    func validate() throws {
        guard all != (stateID != nil) else { throw ValidationError("Name one state, or --all.") }
    }

    func run() throws {
        try report("accepting states") { () throws(Failure) in
            let what = stateID.map { "accept the state \"\($0)\" as it is" } ?? "accept all states as they are"
            try confirmation.require(what, typing: stateID ?? "all")
            var refused: [Failure] = []
            if let stateID {
                let done: Void? = try host.withRepository { (repository, _) throws(Failure) in
                    try repository.accept(stateID)
                }
                guard done != nil else { throw noState(stateID) }
            } else {
                // An index is made even if the host has no state: the host's TPM may have a counter that stands in the
                // way.
                try host.withNewRepository { (repository, _) throws(Failure) in refused = try repository.acceptAll() }
            }
            for failure in refused { complain("vtpmctl: \(failure)") }
            guard refused.isEmpty else {
                throw Failure("cannot accept \(refused.count) states", because: "see above; all others were accepted")
            }
        }
    }
}

/// Returns the error about a state that does not exist.
func noState(_ stateID: String) -> Failure {
    Failure("cannot find the state \"\(stateID)\"", because: "there is none", hint: "vtpmctl state list")
}
