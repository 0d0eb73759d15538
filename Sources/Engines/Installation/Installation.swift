import Platform

/// One file as a command changes it.
public struct FileChange: Sendable {
    /// The path.
    public let path: String
    /// What was there; nil if there was nothing.
    public let before: FoundFile?
    /// What is to be there; nil if the file is removed.
    public let after: [UInt8]?
    let record: Record.File
    /// The folders that go with the file if they are empty.
    let folders: [String]

    /// The lines that change: `-` and `+` before each, below the file's name.
    public var lines: [String] { LineDifference.lines(path, from: before?.bytes, to: after) }
}

/// What a command changes for an engine.
public struct Plan: Sendable {
    /// The engine.
    public let engine: Engine
    /// The way; nil if there is none any more.
    public let way: Way?
    /// The way that was configured before, as far as is recorded.
    public let formerWay: Way?
    /// The files that change, in order; none if all is as it is to be.
    public let changes: [FileChange]
    /// What the operator should know besides.
    public let remarks: [String]
    let record: Record?
}

/// The changes of engines' configurations.
public struct Installation: Sendable {
    let engine: Engine
    let host: EngineHost
    var places: Places { Places(engine: engine, host: host) }

    /// Prepares changes for an engine.
    public init(of engine: Engine, on host: EngineHost) { (self.engine, self.host) = (engine, host) }

    /// Returns what brings a way into an engine's files, in place of another that was there.
    public func installing(_ way: Way, isDefault: Bool) throws(Failure) -> Plan {
        let what = "cannot configure \(engine.rawValue)"
        guard engine.ways.contains(way) else {
            let ways = engine.ways.map(\.rawValue).joined(separator: ", ")
            throw Failure(what, because: "it has no way \(way.rawValue) here", hint: "its ways: \(ways)")
        }
        guard host.layout.isPlain else {
            throw Failure(
                what,
                because: "the path of \(host.layout.programs) has characters that files of engines quote"
            )
        }
        try requireDefault(way, isDefault, what)
        let program = way == .runtime ? host.layout.runtime : host.layout.hook
        guard host.isExecutable(program) else {
            throw Failure(what, because: "\(program) is not there", hint: "make install")
        }
        let old = try host.record(of: engine)
        var remarks: [String] = []
        var isDefault = isDefault
        if !isDefault, try isOursDefault() {
            // Containers that choose no runtime count on it: without it they would start, and have no TPM.
            isDefault = way == .runtime
            remarks = [isDefault ? staysDefault : "ours is no longer \(engine.rawValue)'s default runtime"]
        }
        var changes: [FileChange] = []
        var records: [Record.File] = []
        let files = try places.files(of: way, isDefault: isDefault).filter { file in
            (file.text as? DockerText)?.entry != DockerText.Entry.none
        }
        let wayOut = remarks.isEmpty ? "leave out --default" : removeCommand
        if let flaw = try places.flaw(isDefault: isDefault, wayOut: wayOut) { throw flaw }
        if let disabled = try places.containerdFiles()?.disabledCRI { remarks.append(disabled) }
        for (path, text) in files {
            let former = old?.files.first { $0.path == path }
            let found = try host.files.read(path)
            // What another way has put there goes, even if the new one needs nothing.
            if let found, former == nil || old?.way == way, try text.isComplete(found.bytes) {
                let digest = try Record.digest(found.bytes)
                records.append(former ?? Record.File(path: path, before: digest, after: digest))
                continue
            }
            let change = try self.change(path, text, found, former)
            changes.append(change)
            records.append(change.record)
        }
        for file in (old?.files ?? []).reversed() where !files.contains(where: { $0.path == file.path }) {
            if try otherUser(of: file.path) != nil { continue }
            if let change = try removal(file.path, file) { changes.append(change) }
        }
        // Without a record, a file that the new way does not need is left alone.
        if way != .runtime, !remarks.isEmpty, try !takesDefault(changes) { remarks = [staysDefault] }
        let record = records.isEmpty ? nil : Record(way: way, files: records)
        return Plan(engine: engine, way: way, formerWay: old?.way, changes: changes, remarks: remarks, record: record)
    }

    /// Whether these are changes of the file in which ours is the engine's default runtime.
    private func takesDefault(_ changes: [FileChange]) throws(Failure) -> Bool {
        for change in changes {
            guard let text = places.remover(of: change.path), let before = change.before else { continue }
            if try text.isDefault(in: before.bytes) { return true }
        }
        return false
    }

    /// The command by which ours is no longer the engine's default runtime.
    var removeCommand: String { "vtpmctl engine remove \(engine.rawValue)" }

    private var staysDefault: String {
        "ours stays \(engine.rawValue)'s default runtime, as an earlier install with --default has made it; "
            + "to undo that: \(removeCommand), and install again"
    }

    /// Whether ours is the engine's default runtime in a file that an installation changes.
    func isOursDefault() throws(Failure) -> Bool {
        for path in Set(try host.record(of: engine)?.files.map(\.path) ?? []).union(places.unrecorded) {
            guard let text = places.remover(of: path), let bytes = try host.files.look(path) else { continue }
            if try text.isDefault(in: bytes) { return true }
        }
        return false
    }

    private func requireDefault(_ way: Way, _ isDefault: Bool, _ what: String) throws(Failure) {
        guard isDefault else { return }
        if engine == .k3s {
            throw Failure(
                what,
                because: "k3s takes its default runtime as an argument",
                hint: "k3s server --default-runtime vtpm"
            )
        }
        guard way == .runtime, engine != .nerdctl else {
            throw Failure(
                what,
                because: "only a runtime of the engine's can be its default",
                hint: "leave out --default"
            )
        }
    }

    /// Returns the change of one file from what it is without our entries to what it is with them.
    private func change(
        _ path: String,
        _ text: any EngineText,
        _ found: FoundFile?,
        _ former: Record.File?
    ) throws(Failure) -> FileChange {
        var clean = found?.bytes
        if let found { clean = try without(found.bytes, text, former) }
        var edited = EditedText(clean ?? text.base)
        let isComplete = try clean.map { (bytes) throws(Failure) in try text.isComplete(bytes) } ?? false
        if !isComplete { try text.add(to: &edited) }
        var record = Record.File(path: path, isMade: clean == nil, folders: former?.folders ?? [])
        record.before = try clean.map { (bytes) throws(Failure) in try Record.digest(bytes) } ?? ""
        record.after = try Record.digest(edited.bytes)
        record.splices = clean == nil ? [] : edited.splices
        record.formerDefault = edited.formerDefault
        record.switchedCDIOn = !isComplete && (text as? DockerText)?.entry == .cdi
        return FileChange(path: path, before: found, after: edited.bytes, record: record, folders: [])
    }

    /// Returns a text without our entries; nil if nothing of it was there before.
    private func without(
        _ bytes: [UInt8],
        _ text: any EngineText,
        _ former: Record.File?
    ) throws(Failure) -> [UInt8]? {
        if let former, try Record.digest(bytes) == former.after {
            if former.isMade { return nil }
            if let undone = EditedText.undoing(former.splices, in: bytes), try Record.digest(undone) == former.before {
                return undone
            }
        }
        var edited = EditedText(bytes)
        try text.remove(from: &edited, former?.former ?? FormerEntries())
        let isOurs = former?.isMade ?? edited.bytes.isEmpty
        let isEmpty = edited.bytes == text.base || edited.bytes.isEmpty || edited.bytes == Array("{}\n".utf8)
        return isOurs && isEmpty ? nil : edited.bytes
    }

    /// Returns what takes our entries out of all files of the engine.
    public func removing() throws(Failure) -> Plan {
        let record = try host.record(of: engine)
        var changes: [FileChange] = []
        var remarks: [String] = []
        let recorded = record?.files ?? []
        // A folder that was made goes with the first file in it, when the others are gone.
        for file in recorded.reversed() {
            if file.before == file.after {
                remarks.append("\(file.path) was there before, and stays")
            } else if let other = try otherUser(of: file.path) {
                remarks.append("\(file.path) stays, since \(other.rawValue) uses it too")
            } else if let change = try removal(file.path, file) {
                changes.append(change)
            }
        }
        for path in places.unrecorded where !recorded.contains(where: { $0.path == path }) {
            if let change = try removal(path, nil) { changes.append(change) }
        }
        return Plan(engine: engine, way: nil, formerWay: record?.way, changes: changes, remarks: remarks, record: nil)
    }

    private func removal(_ path: String, _ former: Record.File?) throws(Failure) -> FileChange? {
        guard let text = places.remover(of: path), let seen = try host.files.look(path) else { return nil }
        // A file without our entries may be a link, or another's.
        if former == nil, try without(seen, text, nil) == seen { return nil }
        guard let found = try host.files.read(path) else { return nil }
        let after = try without(found.bytes, text, former)
        guard after != found.bytes else { return nil }
        let record = former ?? Record.File(path: path)
        return FileChange(path: path, before: found, after: after, record: record, folders: former?.folders ?? [])
    }

    /// Returns another engine that a file was installed for too.
    private func otherUser(of path: String) throws(Failure) -> Engine? {
        for other in Engine.allCases where other != engine {
            if try host.record(of: other)?.files.contains(where: { $0.path == path }) ?? false { return other }
        }
        return nil
    }

    /// Runs `body`, which makes a plan and carries it out, while nobody else does.
    public func alone(_ body: () throws(Failure) -> Void) throws(Failure) { try host.withLock(body) }

    /// Carries a plan out.
    ///
    /// The record is written first, with what an earlier way has left: whatever happens then, it tells what may be in the
    /// files.
    public func perform(_ plan: Plan) throws(Failure) {
        let old = try host.record(of: engine)
        var record = plan.record
        let dropped = (old?.files ?? []).filter { file in !(record?.files.contains { $0.path == file.path } ?? false) }
        if let record { try host.keep(Record(way: record.way, files: record.files + dropped), of: engine) }
        for change in plan.changes {
            if let after = change.after {
                let made = try host.files.write(after, to: change.path, replacing: change.before)
                guard !made.isEmpty, let index = record?.files.firstIndex(where: { $0.path == change.path }) else {
                    continue
                }
                record?.files[index].folders = made
            } else if let before = change.before {
                try host.files.remove(change.path, found: before, folders: change.folders)
            }
        }
        try handOver(dropped)
        try host.keep(record, of: engine)
    }

    /// Gives files that stay for other engines into these engines' records.
    private func handOver(_ files: [Record.File]) throws(Failure) {
        for file in files where file.isMade {
            guard let other = try otherUser(of: file.path), var record = try host.record(of: other) else { continue }
            for index in record.files.indices where record.files[index].path == file.path {
                record.files[index] = file
            }
            try host.keep(record, of: other)
        }
    }
}
