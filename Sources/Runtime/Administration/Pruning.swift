import CLinux
import Glibc
import Platform
import RuntimeState

/// Removing the states that nobody will need again.
///
/// A state is removed only if nobody uses it, if its container's init is dead, and if it has not been used for some time. A
/// state of unknown age, or from the future, stays.
public struct Pruning {
    /// Which states go.
    public struct Criteria: Equatable, Sendable {
        /// Those that have not been used for so many seconds; nil for those that their own time has run out for.
        public var unusedFor: UInt64?
        /// Of these, those alone whose container no engine of this host knows.
        public var orphansOnly: Bool

        /// States that were not used for so many seconds, or whose own time has run out.
        public init(unusedFor: UInt64?, orphansOnly: Bool = false) {
            self.unusedFor = unusedFor
            self.orphansOnly = orphansOnly
        }
    }

    /// A state that meets the criteria.
    public struct Candidate: Equatable, Sendable {
        /// Whose state it is.
        public var stateID: String
        /// When it was used last, in seconds since 1970.
        public var lastUse: UInt64
        /// Why it may go.
        public var criteria: Criteria

        /// Names a state.
        public init(stateID: String, lastUse: UInt64, criteria: Criteria) {
            self.stateID = stateID
            self.lastUse = lastUse
            self.criteria = criteria
        }
    }

    private let repository: StateRepository
    private let containers: ContainerInventory
    private let now: UInt64

    /// A look at all states at one moment, in seconds since 1970.
    public init(_ repository: StateRepository, _ containers: ContainerInventory, now: UInt64) {
        self.repository = repository
        self.containers = containers
        self.now = now
    }

    /// Calls `body` with each state that meets the criteria, and changes nothing.
    ///
    /// `progress` is called with each state that was looked at.
    public func each(
        _ criteria: Criteria,
        progress: () -> Void = {},
        _ body: (Candidate) throws(Failure) -> Void
    ) throws(Failure) {
        try repository.index.each { (entry) throws(Failure) in
            progress()
            guard let lastUse = try prunable(entry, criteria) else { return }
            try body(Candidate(stateID: entry.stateID, lastUse: lastUse, criteria: criteria))
        }
    }

    /// Removes states that were found, to the quarantine or for ever, and tells what became of each.
    ///
    /// Each is looked at again: meanwhile its container may have been started. Several go with one change of the index. If
    /// that fails, it is not known whether these went, and the next look at them completes what was begun.
    ///
    /// - Throws: ``Failure`` if `body` does.
    public func remove(
        _ candidates: [Candidate],
        to quarantine: Quarantine?,
        _ body: (Candidate, PruneOutcome) throws(Failure) -> Void
    ) throws(Failure) {
        var rest = candidates[...]
        while !rest.isEmpty {
            let batch = rest.prefix(StateRepository.pruneBatch)
            var entries: [(candidate: Candidate, entry: IndexEntry)] = []
            for candidate in batch {
                let entry: IndexEntry?
                do throws(Failure) {
                    entry = try stillPrunable(candidate)
                } catch {
                    try body(candidate, .failed(error))
                    continue
                }
                if let entry { entries.append((candidate, entry)) } else { try body(candidate, .stays) }
            }
            var left = entries[...]
            while !left.isEmpty {
                let outcomes = prune(left.map(\.entry)[...], to: quarantine)
                for ((candidate, _), outcome) in zip(left, outcomes) { try body(candidate, outcome) }
                left = left.dropFirst(outcomes.count)
            }
            rest = rest.dropFirst(batch.count)
        }
    }

    /// What is remembered of a state that still meets its criteria; nil if it does not, or is gone.
    private func stillPrunable(_ candidate: Candidate) throws(Failure) -> IndexEntry? {
        let name = try StateDirectoryName.encoded(candidate.stateID)
        guard let entry = try repository.index.entry(name), try prunable(entry, candidate.criteria) != nil else {
            return nil
        }
        return entry
    }

    /// Removes the first of these states; an error is that of all that one change of the index takes.
    private func prune(_ entries: ArraySlice<IndexEntry>, to quarantine: Quarantine?) -> [PruneOutcome] {
        do throws(Failure) {
            return try repository.prune(entries, to: quarantine)
        } catch {
            return entries.prefix(StateRepository.pruneBatch).map { _ in .failed(error) }
        }
    }

    /// When a state that meets the criteria was used last; nil for one that does not.
    private func prunable(_ entry: IndexEntry, _ criteria: Criteria) throws(Failure) -> UInt64? {
        guard entry.renamedTo.isEmpty, entry.renamedFrom.isEmpty else { return nil }
        guard let time = criteria.unusedFor ?? entry.keptFor else { return nil }
        let name = try StateDirectoryName.encoded(entry.stateID)
        // One that was lost stays known as that, so that its container is refused.
        guard try repository.isThereOrInterrupted(name, entry) else { return nil }
        guard let lastUse = entry.lastUse > 0 ? entry.lastUse : try repository.timeOfChange(name),
            lastUse <= now, now - lastUse >= time
        else { return nil }
        if criteria.orphansOnly, containers.knows(containerID: entry.containerID, bundle: entry.bundle) { return nil }
        return try repository.isInUse(name) ? nil : lastUse
    }
}

extension StateRepository {
    /// When a state's directory was changed last, in seconds since 1970; nil if there is none.
    fileprivate func timeOfChange(_ name: String) throws(Failure) -> UInt64? {
        try directory.status(of: name, path(of: name)).map { UInt64(clamping: $0.st_mtim.tv_sec) }
    }

    /// Whether somebody uses a state, or its last user's init lives; what cannot be looked at is in use.
    fileprivate func isInUse(_ name: String) throws(Failure) -> Bool {
        do throws(Failure) {
            guard let directory = try open(name) else { return false }
            if try StateLock.user(in: directory) != nil { return true }
            return try StateLock.lastUser(in: directory)?.initProcess.isAlive() ?? false
        } catch {
            return true
        }
    }

    /// Whether a state is there, never came to be, or is one whose removal was interrupted.
    fileprivate func isThereOrInterrupted(_ name: String, _ entry: IndexEntry) throws(Failure) -> Bool {
        if entry.generation == 0 { return true }
        if try directory.status(of: name, path(of: name)) != nil { return true }
        return try isRetired(name)
    }
}
