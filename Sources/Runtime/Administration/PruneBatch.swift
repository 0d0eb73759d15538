import Glibc
import Platform
import RuntimeState

/// What became of a state that was to be pruned.
public enum PruneOutcome: Equatable, Sendable {
    /// It is gone for ever.
    case removed
    /// It is in the quarantine, at this path.
    case quarantined(String)
    /// It stays: it was used meanwhile.
    case stays
    /// It stays, or a part of it does, since something failed.
    case failed(Failure)

    /// Whether the state is no longer among the states.
    public var isGone: Bool {
        switch self {
        case .removed, .quarantined: true
        case .stays, .failed: false
        }
    }
}

extension StateRepository {
    /// How many states go with one change of the index.
    ///
    /// A change costs flushes, and with a counter in the host's TPM a write to its NV memory, which wears out. Others who
    /// make states wait meanwhile.
    static let pruneBatch = 32
    /// How long a batch may take until it is closed, in milliseconds, on a disk that is slow to flush.
    private static let pruneBatchTime = 1000

    /// Removes states as they were when they were looked at, the first of them at least.
    ///
    /// The records go after the directories, so that whoever looks next finds what an interruption left undone.
    ///
    /// - Returns: What became of each that was tried, in their order.
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
                    // Nobody could use it since it was locked.
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

/// A state on its way out: locked, under a name that no start looks for.
private final class RetiredState {
    let entry: IndexEntry
    let name: String
    var outcome: PruneOutcome
    private var lock: StateLock?

    /// Locks a state, copies it to the quarantine if there is one, and takes its name away.
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
            lock = try StateLock.forOperator(in: directory, of: entry.stateID)
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
