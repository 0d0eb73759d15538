import Platform
import RuntimeAdministration
import RuntimeState

/// The removal of many states, and what it reports.
enum Removal {
    /// Removes the states, to the quarantine or for ever, and reports each.
    ///
    /// One that cannot be removed is reported, and the others are removed all the same.
    ///
    /// - Returns: The number of states that could not be removed.
    static func run(
        _ found: [Pruning.Candidate],
        _ pruning: Pruning,
        _ repository: StateRepository,
        _ quarantine: Quarantine?
    ) throws(Failure) -> Int {
        try repository.removeLeftovers()
        Progress.begin("removing states")
        var refused = 0
        try pruning.remove(found, to: quarantine) { (candidate, outcome) throws(Failure) in
            Progress.step(of: found.count)
            switch outcome {
            case .removed: try tell(candidate, "was removed for ever")
            case .quarantined(let place): try tell(candidate, "is in \(place)")
            case .stays: break
            case .failed(let failure):
                refused += 1
                complain("vtpmctl: \(failure)")
            }
        }
        return refused
    }

    /// Returns the error about states that could not be removed.
    static func failure(_ count: Int) -> Failure {
        Failure("cannot remove \(count) states", because: "see above")
    }

    /// Returns the line about a state that would be removed.
    static func line(_ candidate: Pruning.Candidate) -> String {
        "\(candidate.stateID.onOneLine): \(lastUse(candidate))"
    }

    /// Logs and prints that a state is gone.
    static func tell(_ gone: Pruning.Candidate, _ place: String) throws(Failure) {
        let line = "state \"\(gone.stateID.onOneLine)\" \(place.onOneLine): \(lastUse(gone))"
        Log.notice(line, .removed, about: LogSubject(state: gone.stateID))
        try Output.write(line: line)
    }

    private static func lastUse(_ candidate: Pruning.Candidate) -> String {
        candidate.lastUse == 0 ? "never used" : "last used \(timestamp(candidate.lastUse))"
    }
}
