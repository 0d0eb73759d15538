import CLinux
import Glibc
import Platform
import RuntimeState

/// The removal of states that are no longer needed.
///
/// A state is removed only if nobody uses it, if its container is dead, and if it has not been used for some
/// time. A state is kept if its age is unknown or its last use is in the future. Only if a whole scope is removed does
/// the time not count.
public struct Pruning {
    /// The conditions under which states are removed.
    public struct Criteria: Equatable, Sendable {
        /// The time since the last use, in seconds; nil for the time in each state's own record.
        public var unusedFor: UInt64?
        /// Whether to remove only states whose container no engine of this host knows.
        public var orphansOnly: Bool
        /// The scope whose states are removed, however long ago they were used; nil to go by time.
        public var scope: StateScope?

        /// Creates criteria; without `unusedFor` they hold for states that are past their own retention time.
        public init(unusedFor: UInt64?, orphansOnly: Bool = false) {
            self.unusedFor = unusedFor
            self.orphansOnly = orphansOnly
        }

        /// Creates criteria that hold for all states below a scope.
        public init(below scope: StateScope) {
            self.init(unusedFor: nil)
            self.scope = scope
        }
    }

    /// A state that meets the criteria.
    public struct Candidate: Equatable, Sendable {
        /// The ID of the state.
        public var stateID: String
        /// The time of the last use, in seconds since 1970; 0 if it is unknown.
        public var lastUse: UInt64
        /// The criteria that the state meets.
        public var criteria: Criteria

        /// Creates a candidate.
        public init(stateID: String, lastUse: UInt64, criteria: Criteria) {
            self.stateID = stateID
            self.lastUse = lastUse
            self.criteria = criteria
        }
    }

    private let repository: StateRepository
    private let containers: ContainerInventory
    private let now: UInt64

    /// Creates a pruning of all states, as of `now` in seconds since 1970.
    public init(_ repository: StateRepository, _ containers: ContainerInventory, now: UInt64) {
        self.repository = repository
        self.containers = containers
        self.now = now
    }

    /// Calls `body` with each state that meets the criteria; changes nothing.
    ///
    /// `progress` is called once for each state that is examined.
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

    /// Removes candidates, to the quarantine or for ever, and calls `body` with the result of each.
    ///
    /// Each state is examined again, since its container may have been started meanwhile. One change of the index
    /// removes several states. If that change fails, it is unknown which of them were removed; the next run completes
    /// their removal.
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

    /// Returns the record of a state that still meets its criteria, or nil if it does not or is gone.
    private func stillPrunable(_ candidate: Candidate) throws(Failure) -> IndexEntry? {
        let name = try StateDirectoryName.encoded(candidate.stateID)
        guard let entry = try repository.index.entry(name), try prunable(entry, candidate.criteria) != nil else {
            return nil
        }
        return entry
    }

    /// Removes the first of these states; an error becomes the result of all states of one change of the index.
    private func prune(_ entries: ArraySlice<IndexEntry>, to quarantine: Quarantine?) -> [PruneOutcome] {
        do throws(Failure) {
            return try repository.prune(entries, to: quarantine)
        } catch {
            return entries.prefix(StateRepository.pruneBatch).map { _ in .failed(error) }
        }
    }

    /// Returns the time of the last use of a state that meets the criteria, or nil if it does not.
    private func prunable(_ entry: IndexEntry, _ criteria: Criteria) throws(Failure) -> UInt64? {
        guard entry.renamedTo.isEmpty, entry.renamedFrom.isEmpty else { return nil }
        let name = try StateDirectoryName.encoded(entry.stateID)
        if let scope = criteria.scope {
            // Whoever removes a scope forgets its lost states too.
            guard scope.contains(entry.stateID) else { return nil }
            return try repository.isInUse(name) ? nil : entry.lastUse
        }
        guard let time = criteria.unusedFor ?? entry.keptFor else { return nil }
        // A lost state keeps its record, so that its container is refused.
        guard try repository.isThereOrInterrupted(name, entry) else { return nil }
        guard let lastUse = entry.lastUse > 0 ? entry.lastUse : try repository.timeOfChange(name),
            lastUse <= now, now - lastUse >= time
        else { return nil }
        if criteria.orphansOnly, isKnown(entry) { return nil }
        return try repository.isInUse(name) ? nil : lastUse
    }

    /// Returns whether the container of a state exists, or may come again.
    ///
    /// No engine knows whether a pod will be made anew under its name, as a StatefulSet's is.
    private func isKnown(_ entry: IndexEntry) -> Bool {
        StateScope.isPods(entry.stateID) || containers.knows(containerID: entry.containerID, bundle: entry.bundle)
    }
}

extension StateRepository {
    /// Returns when a state's directory was last modified, in seconds since 1970, or nil if there is none.
    fileprivate func timeOfChange(_ name: String) throws(Failure) -> UInt64? {
        try directory.status(of: name, path(of: name)).map { UInt64(clamping: $0.st_mtim.tv_sec) }
    }

    /// Returns whether a state has a user, or its last user's container lives; also true if it cannot be examined.
    fileprivate func isInUse(_ name: String) throws(Failure) -> Bool {
        do throws(Failure) {
            guard let directory = try open(name) else { return false }
            if try StateLock.user(in: directory) != nil { return true }
            return try StateLock.lastUser(in: directory)?.container.isAlive() ?? false
        } catch {
            return true
        }
    }

    /// Returns whether a state exists, was never complete, or is one whose removal was interrupted.
    fileprivate func isThereOrInterrupted(_ name: String, _ entry: IndexEntry) throws(Failure) -> Bool {
        if entry.generation == 0 { return true }
        // A lost state keeps its record; a start that was refused may have left a directory.
        if try hasFile(name) { return true }
        return try isRetired(name)
    }
}
