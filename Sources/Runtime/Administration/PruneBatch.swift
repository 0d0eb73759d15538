import Glibc
import Platform
import RuntimeState

/// The result of pruning one state.
public enum PruneOutcome: Equatable, Sendable {
    /// The state was removed for ever.
    case removed
    /// The state was moved to the quarantine, to this path.
    case quarantined(String)
    /// The state was kept, since it was used meanwhile.
    case stays
    /// The state, or a part of it, was kept because of an error.
    case failed(Failure)

    /// Whether the state was removed from the states directory.
    public var isGone: Bool {
        switch self {
        case .removed, .quarantined: true
        case .stays, .failed: false
        }
    }
}

extension StateRepository {
    /// The largest number of states that one change of the index removes.
    ///
    /// A change costs flushes. With a counter in the host's TPM it also costs a write to the NV memory, which wears
    /// out. Others that create states have to wait for a batch.
    static let pruneBatch = 32
    /// How long a batch may take before it is closed, in milliseconds; a disk may be slow to flush.
    private static let pruneBatchTime = 1000

    /// Removes states that are unchanged since they were examined, at least the first of them.
    ///
    /// The index's records are removed after the directories were renamed. So the next run finds a removal that was
    /// interrupted.
    ///
    /// - Returns: The results of the states that were tried, in their order.
    func prune(_ seen: ArraySlice<IndexEntry>, to quarantine: Quarantine?) throws(Failure) -> [PruneOutcome] {
        try withCreationLock(until: Deadline(milliseconds: 10_000)) { () throws(Failure) in
            let deadline = Deadline(milliseconds: Self.pruneBatchTime)
            var states: [RetiredState] = []
            for entry in seen.prefix(Self.pruneBatch) {
                if !states.isEmpty, deadline.hasPassed { break }
                states.append(try RetiredState(entry, in: self, to: quarantine))
            }
            try index.transact { (records) throws(Failure) in
                for state in states where state.outcome.isGone {
                    // Nobody could use the state while it was locked; only another command can have changed its record.
                    guard try records.entry(state.name) == state.entry else {
                        state.outcome = .stays
                        continue
                    }
                    try records.remove(state.name)
                }
            }
            for state in states where state.outcome.isGone {
                do throws(Failure) { try removeLeftovers(of: state.name) } catch { state.outcome = .failed(error) }
            }
            return states.map(\.outcome)
        }
    }
}

/// A state that is being removed: locked, under a name that no start looks for.
private final class RetiredState {
    let entry: IndexEntry
    let name: String
    var outcome: PruneOutcome
    private var lock: StateLock?

    /// Locks a state, copies it to the quarantine if there is one, and renames its directory.
    init(
        _ entry: IndexEntry,
        in repository: StateRepository,
        to quarantine: Quarantine?
    ) throws(Failure) {
        self.entry = entry
        name = try StateDirectoryName.encoded(entry.stateID)
        outcome = .removed
        do throws(Failure) {
            guard let directory = try repository.open(name) else { return }
            lock = try repository.lockForOperator(directory, name, of: entry.stateID)
            guard try repository.index.entry(name) == entry else {
                outcome = .stays
                return
            }
            let place = try quarantine?.copy(name, from: repository)
            try repository.retire(name)
            if let place { outcome = .quarantined(place) }
        } catch {
            outcome = error.code == EWOULDBLOCK ? .stays : .failed(error)
        }
    }
}
