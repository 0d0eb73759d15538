import Crypto
import Glibc
import Platform
import RuntimeState

/// The properties of a state that can be read without changing or locking anything.
public struct StateSummary: Encodable, Sendable {
    /// The ID from the index's record, or else from the state's file; the name of the directory if neither has one.
    public var stateID: String
    /// The path of the state's directory.
    public var path: String
    /// The instance's UUID, in hexadecimal.
    public var uuid: String?
    /// The number of the last write.
    public var generation: UInt64?
    /// The size of the file, in bytes.
    public var size: Int?
    /// The ID of the master key that it needs, in hexadecimal.
    public var keyID: String?
    /// Whether that key is the host's current one.
    public var hasCurrentKey: Bool?
    /// The generation at the last start or stop, from the host's index.
    public var lastGeneration: UInt64?
    /// The time of the last start or stop, in seconds since 1970.
    public var lastUse: UInt64?
    /// The bundle of the container that used it last.
    public var bundle: String?
    /// The ID of the container that uses it now; empty if its lock file names none.
    public var inUseBy: String?
    /// Whether nobody uses it and the bundle of the last container does not exist; never so of a pod's container, whose
    /// pod may be made anew.
    public var isOrphan: Bool
    /// Why it cannot be used, as far as that can be determined without decrypting it.
    public var problem: String?
}

extension StateRepository {
    /// Returns all states in the order of their directories' names, then those that only the index knows.
    ///
    /// A foreign file in the states directory is listed too, with its type as its problem. A state that only the index
    /// knows is listed if it was once complete.
    public func summaries() throws(Failure) -> [StateSummary] {
        let entries = try index.snapshot()
        var summaries: [StateSummary] = []
        let names = try names()
        for name in names { if let summary = try summary(name, entries[name]) { summaries.append(summary) } }
        let there = Set(names)
        for name in entries.keys.sorted() where !there.contains(name) {
            if let entry = entries[name], let summary = summary(ofMissing: name, entry) { summaries.append(summary) }
        }
        return summaries
    }

    /// Returns the summary of one state, or nil if there is none of this ID.
    public func summary(of stateID: String) throws(Failure) -> StateSummary? {
        let name = try StateDirectoryName.encoded(stateID)
        let entry = try index.entry(name)
        if let summary = try summary(name, entry) { return summary }
        return entry.flatMap { summary(ofMissing: name, $0) }
    }

    private func summary(ofMissing name: String, _ entry: IndexEntry) -> StateSummary? {
        guard entry.generation > 0 else { return nil }
        var summary = StateSummary(stateID: entry.stateID, path: path(of: name), isOrphan: false)
        summary.add(entry)
        summary.problem = "it existed and is missing"
        return summary
    }

    private func summary(_ name: String, _ entry: IndexEntry?) throws(Failure) -> StateSummary? {
        do {
            guard let directory = try open(name) else { return nil }
            // Nothing of a state that is only about to be made can be told.
            if try isOnlyBegun(name) { return nil }
            return try summary(name, directory, entry)
        } catch {
            var summary = StateSummary(stateID: entry?.stateID ?? name, path: path(of: name), isOrphan: false)
            if let entry { summary.add(entry) }
            summary.problem = error.code == EACCES ? error.reason : error.why
            return summary
        }
    }

    private func summary(
        _ name: String,
        _ directory: borrowing Descriptor,
        _ entry: IndexEntry?
    ) throws(Failure) -> StateSummary {
        var summary = StateSummary(stateID: entry?.stateID ?? name, path: path(of: name), isOrphan: false)
        do {
            try requireAccess(to: name)
            let header = try readWhileInUse(name, in: directory) { (file) throws(Failure) in
                summary.size = file.count
                let header = try StateFile(parsing: file, path: filePath(name))
                // A foreign file under this name is a problem of this state, not of the other one.
                if entry == nil, try StateDirectoryName.encoded(header.stateID) == name {
                    summary.stateID = header.stateID
                }
                summary.add(header, current: keys.current.id)
                return Result { () throws(Failure) in
                    try header.requireState(filePath(name))
                    return header
                }
            }
            _ = try keys.instanceKeys(of: header, summary.stateID, path: filePath(name))
            try check(header, against: entry, path: filePath(name))
        } catch {
            // The reason includes the command that corrects a wrong owner; the cause alone does not.
            summary.problem = error.code == EACCES ? error.reason : error.why
        }
        if let entry { summary.add(entry) }
        if let user = try StateLock.user(in: directory) {
            summary.inUseBy = user.containerID
        } else if let bundle = summary.bundle {
            summary.isOrphan = access(bundle, F_OK) != 0 && !StateScope.isPods(summary.stateID)
        }
        return summary
    }
}

extension StateSummary {
    fileprivate mutating func add(_ header: StateFile, current keyID: [UInt8]) {
        uuid = Hexadecimal.encode(header.uuid)
        generation = header.generation
        self.keyID = Hexadecimal.encode(header.keyID)
        hasCurrentKey = header.keyID == keyID
    }

    fileprivate mutating func add(_ entry: IndexEntry) {
        lastGeneration = entry.generation
        lastUse = entry.lastUse == 0 ? nil : entry.lastUse
        bundle = entry.bundle.isEmpty ? nil : entry.bundle
    }
}

extension StateRepository {
    /// Decrypts and checks one state; changes nothing.
    ///
    /// Throws the ``Failure`` with which a start of its container would fail, except for the comparison with the host
    /// TPM's counter. It includes owners and modes, since a supervisor has given up the capability to use files that
    /// are not root's.
    public func verify(_ stateID: String) throws(Failure) {
        let name = try StateDirectoryName.encoded(stateID)
        // The index is read first: a container that stops meanwhile makes the file newer than the record, not older.
        guard try index.keyID() != nil else { throw index.missing }
        let entry = try index.entry(name)
        try requireAccess(to: name)
        guard let directory = try open(name) else { throw missing(stateID) }
        let (header, payload) = try loadInUse(name, stateID, in: directory)
        try check(header, against: entry, path: filePath(name))
        try check(payload, against: entry, path: filePath(name))
    }

    /// Verifies all states; returns the ID of each, and its error or nil.
    ///
    /// `progress` is called for each, with the number of all.
    public func verifyAll(
        progress: (_ total: Int) -> Void = { _ in }
    ) throws(Failure) -> [(stateID: String, problem: Failure?)] {
        var results: [(stateID: String, problem: Failure?)] = []
        let summaries = try summaries()
        for summary in summaries {
            progress(summaries.count)
            do throws(Failure) {
                if let problem = summary.problem {
                    throw Failure("cannot load the state \(summary.path)", because: problem)
                }
                try verify(summary.stateID)
                results.append((summary.stateID, nil))
            } catch {
                results.append((summary.stateID, error))
            }
        }
        return results
    }

    func missing(_ stateID: String) -> Failure {
        Failure("cannot find the state \"\(stateID)\"", because: "there is none", hint: "vtpmctl state list")
    }
}
