import ArgumentParser
import Configuration
import Glibc
import Platform
import RuntimeAdministration
import RuntimeControl
import RuntimeState

struct StatePrune: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "prune",
        abstract: "Removes the states that nobody will need again.",
        discussion: """
            A state in use is never removed, and neither is one whose container lives. A state goes to the \
            quarantine unless --forever is given. Without --unused-for, it is the states whose own time has run out \
            (state.random-ids) and, if the configuration has one, those that were not used for retention.unused-for. \
            --orphans leaves those whose container an engine of this host knows, or may know: a bundle or an entry of its \
            that is still there. A state that is named by a pod is never an orphan, since the pod may be made anew.
            """
    )

    @OptionGroup var host: HostOptions
    @OptionGroup var confirmation: ConfirmationOptions
    @Option(help: "States that were not used for this time, such as 30d, 12h or 8w.")
    var unusedFor: String?
    @Flag(help: "Of these, the ones alone whose container is gone.")
    var orphans = false
    @Flag(help: "Remove them for ever: their TPMs' keys, and what is sealed to them, are lost.")
    var forever = false
    @Flag(help: "Print the states that would be removed, and change nothing.")
    var dryRun = false

    func validate() throws {
        if let unusedFor, TimeSpan.seconds(unusedFor) == nil {
            throw ValidationError("--unused-for takes a time, \(TimeSpan.example).")
        }
    }

    func run() throws {
        try report("pruning states") { () throws(Failure) in
            var time = unusedFor.flatMap(TimeSpan.seconds)
            if time == nil { time = try host.configuration().retention.unusedFor }
            if !dryRun, unusedFor != nil || forever {
                let place = forever ? "for ever" : "to the quarantine"
                try confirmation.require("remove all states that meet this \(place)", typing: "prune")
            }
            _ = try host.withRepository { (repository, hostPaths) throws(Failure) in
                try prune(repository, hostPaths, time)
            }
        }
    }

    private func prune(
        _ repository: StateRepository,
        _ hostPaths: HostPaths,
        _ time: UInt64?
    ) throws(Failure) {
        let containers = ContainerInventory { program in try? lines(of: program) }
        let pruning = Pruning(repository, containers, now: UInt64(clamping: Glibc.time(nil)))
        Progress.begin("looking at states")
        var found: [Pruning.Candidate] = []
        var seen: Set<String> = []
        // Without --unused-for, each state's own time counts first, and then that of the configuration.
        let times = unusedFor == nil && time != nil ? [nil, time] : [time]
        for criteria in times.map({ Pruning.Criteria(unusedFor: $0, orphansOnly: orphans) }) {
            try pruning.each(criteria, progress: { Progress.step() }) { (candidate) throws(Failure) in
                if times.count > 1, !seen.insert(candidate.stateID).inserted { return }
                if dryRun {
                    try Output.write(line: Removal.line(candidate))
                } else {
                    found.append(candidate)
                }
            }
        }
        guard !dryRun else { return }
        let refused = try Removal.run(found, pruning, repository, forever ? nil : Quarantine(hostPaths.quarantine))
        guard refused == 0 else { throw Removal.failure(refused) }
    }

    /// The longest output of an engine's client that is read, in bytes.
    private static let listLimit = 64 << 20

    /// Returns the output lines of an engine's client; nil if the client is not installed or prints too much.
    ///
    /// Its timeout is 20 s.
    private func lines(of program: [String]) throws(Failure) -> [String]? {
        guard let path = program.first, access(path, X_OK) == 0 else { return nil }
        let text = try ProgramOutput.read(
            path,
            Array(program.dropFirst()),
            limit: Self.listLimit,
            timeout: 20_000
        )
        // In half a list, the containers of the other half would be missing, and their states would count as orphans.
        guard text.count < Self.listLimit else { return nil }
        return String(decoding: text, as: UTF8.self).split(separator: "\n").map(String.init)
    }
}
