import ArgumentParser
import Glibc
import Platform
import RuntimeAdministration
import RuntimeState

struct StatePurge: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "purge",
        abstract: "Removes a state, or all states of a scope, for ever.",
        discussion: """
            The state must not be in use. Its TPM's keys, and what is sealed to them, are lost. --scope takes the \
            beginning of state IDs, as `vtpmctl state list` shows them: an engine, a namespace of it (containerd/default), \
            or a pod (containerd/default/pod/db-0).
            """
    )

    @OptionGroup var host: HostOptions
    @OptionGroup var confirmation: ConfirmationOptions
    @Argument(help: "The state's ID.", completion: .states)
    var stateID: String?
    @Option(help: "All states below this scope that no container uses.")
    var scope: String?
    @Flag(help: "With --scope: print the states that would be removed, and change nothing.")
    var dryRun = false

    func validate() throws {
        guard (stateID == nil) != (scope == nil) else { throw ValidationError("Name one state, or give --scope.") }
        guard !dryRun || scope != nil else { throw ValidationError("--dry-run is for --scope.") }
    }

    func run() throws {
        try report("removing states for ever") { () throws(Failure) in
            if let stateID { try purge(stateID) }
            if let scope { try purge(below: StateScope(scope)) }
        }
    }

    private func purge(_ stateID: String) throws(Failure) {
        try confirmation.require("remove the state \"\(stateID)\" for ever", typing: stateID)
        let done: Void? = try host.withRepository { (repository, _) throws(Failure) in
            try repository.purge(stateID)
        }
        guard done != nil else { throw noState(stateID) }
    }

    private func purge(below scope: StateScope) throws(Failure) {
        if !dryRun {
            let what = "remove for ever all states below \(scope.description.onOneLine) that no container uses"
            try confirmation.require(what, typing: scope.description)
        }
        let count = try host.withRepository { (repository, _) throws(Failure) in
            // Which containers an engine knows decides nothing here.
            let containers = ContainerInventory { _ in nil }
            let pruning = Pruning(repository, containers, now: UInt64(clamping: Glibc.time(nil)))
            var found: [Pruning.Candidate] = []
            try pruning.each(.init(below: scope)) { (candidate) throws(Failure) in found.append(candidate) }
            return try dryRun
                ? show(found, repository, scope)
                : remove(found, pruning, repository, scope)
        }
        guard let count, count > 0 else {
            throw Failure(
                "cannot find a state below \(scope.description.onOneLine)",
                because: "there is none",
                hint: "vtpmctl state list"
            )
        }
    }

    /// Prints what would be removed and what would stay; returns the number of states below the scope.
    private func show(
        _ found: [Pruning.Candidate],
        _ repository: StateRepository,
        _ scope: StateScope
    ) throws(Failure) -> Int {
        for candidate in found { try Output.write(line: Removal.line(candidate)) }
        let going = Set(found.map { Array($0.stateID.utf8) })
        let others = try repository.summaries().filter {
            scope.contains($0.stateID) && !going.contains(Array($0.stateID.utf8))
        }
        for state in others {
            let why = state.inUseBy.map { "container \"\($0.onOneLine)\" uses it" } ?? state.problem?.onOneLine
            complain("vtpmctl: \(state.stateID.onOneLine) may stay: \(why ?? "its container may use it")")
        }
        return found.count + others.count
    }

    /// Removes what can be removed, and says why the rest stays; returns the number of states below the scope.
    private func remove(
        _ found: [Pruning.Candidate],
        _ pruning: Pruning,
        _ repository: StateRepository,
        _ scope: StateScope
    ) throws(Failure) -> Int {
        _ = try Removal.run(found, pruning, repository, nil)
        // What is left is in use, is being renamed, could not be removed, or is not in the index. Each says so itself.
        let rest = try repository.summaries().filter { scope.contains($0.stateID) }
        var refused = 0
        for state in rest {
            do throws(Failure) {
                try repository.purge(state.stateID)
            } catch {
                refused += 1
                complain("vtpmctl: \(error)")
                continue
            }
            let gone = Pruning.Candidate(
                stateID: state.stateID,
                lastUse: state.lastUse ?? 0,
                criteria: .init(below: scope)
            )
            try Removal.tell(gone, "was removed for ever")
        }
        guard refused == 0 else { throw Removal.failure(refused) }
        return found.count + rest.count
    }
}
