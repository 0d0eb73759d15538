import Crypto
import Glibc
import Platform
import RuntimeState

/// What can be said about a state without changing or locking anything.
public struct StateSummary: Encodable, Sendable {
    /// Whose state it is, as its file says; the name of its directory where the file cannot be read.
    public var stateID: String
    /// Its directory.
    public var path: String
    /// The instance, in hexadecimal.
    public var uuid: String?
    /// How often it was written.
    public var generation: UInt64?
    /// The size of the file, in bytes.
    public var size: Int?
    /// The master key that it needs, in hexadecimal.
    public var keyID: String?
    /// Whether it is the host's current key.
    public var hasCurrentKey: Bool?
    /// The generation at the last start or stop, as the host's index has it.
    public var lastGeneration: UInt64?
    /// When it was started or stopped last, in seconds since 1970.
    public var lastUse: UInt64?
    /// The bundle of the container that used it last.
    public var bundle: String?
    /// The container that uses it now.
    public var inUseBy: String?
    /// Whether nobody uses it and the bundle of the last container is gone.
    public var isOrphan: Bool
    /// Why it could not be used, as far as that shows without decrypting it.
    public var problem: String?
}

extension StateRepository {
    /// All states, in the order of their directories' names, and those that the index alone knows.
    ///
    /// What lies among them and is none is listed too, with what it is as its problem.
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

    /// What can be said of one state; nil if there is none of this ID.
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
            let file = try read(in: directory, name)
            summary.size = file.count
            let header = try StateFile(parsing: file, path: filePath(name))
            // Another's file under this name is a problem of this state, not of the other.
            if entry == nil, try StateDirectoryName.encoded(header.stateID) == name { summary.stateID = header.stateID }
            summary.uuid = Hexadecimal.encode(header.uuid)
            summary.generation = header.generation
            summary.keyID = Hexadecimal.encode(header.keyID)
            summary.hasCurrentKey = header.keyID == keys.current.id
            _ = try keys.instanceKey(of: header, summary.stateID, path: filePath(name))
            try check(header, against: entry, path: filePath(name))
        } catch {
            // A wrong owner is put right by a command that the cause does not say.
            summary.problem = error.code == EACCES ? error.reason : error.why
        }
        if let entry { summary.add(entry) }
        if let user = try StateLock.user(in: directory) {
            summary.inUseBy = user.containerID
        } else if let bundle = summary.bundle {
            summary.isOrphan = access(bundle, F_OK) != 0
        }
        return summary
    }
}

extension StateSummary {
    fileprivate mutating func add(_ entry: IndexEntry) {
        lastGeneration = entry.generation
        lastUse = entry.lastUse == 0 ? nil : entry.lastUse
        bundle = entry.bundle.isEmpty ? nil : entry.bundle
    }
}

extension StateRepository {
    /// Decrypts and checks one state, and changes nothing.
    ///
    /// Throws what a start of its container would say, but for what the host TPM's counter says of the index. A supervisor
    /// has given up the capability to use what is not root's, so owners and modes are looked at too.
    public func verify(_ stateID: String) throws(Failure) {
        let name = try StateDirectoryName.encoded(stateID)
        // First: a container that stops meanwhile makes the file newer than the entry, not older.
        guard try index.keyID() != nil else { throw index.missing }
        let entry = try index.entry(name)
        try requireAccess(to: name)
        guard let directory = try open(name) else { throw missing(stateID) }
        let (header, payload) = try load(name, stateID, in: directory)
        try check(header, against: entry, path: filePath(name))
        try check(payload, against: entry, path: filePath(name))
    }

    /// The same for all states, each with its ID; nothing is said of one that is good.
    public func verifyAll() throws(Failure) -> [(stateID: String, problem: Failure?)] {
        var results: [(stateID: String, problem: Failure?)] = []
        for summary in try summaries() {
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
