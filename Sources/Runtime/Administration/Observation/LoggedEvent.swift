import JSONText
import Platform

/// An event that one of our programs has logged, as the journal has it.
///
/// Any process of the host may write a line with our name. journald takes a sender's user from the kernel, so only
/// lines of root's count. systemd.journal-fields(7), "Trusted Journal Fields"
public struct LoggedEvent: Equatable, Sendable {
    /// Where in the journal it is.
    public let cursor: String
    /// When it was logged, in microseconds since 1970.
    public let time: UInt64
    /// The program that has logged it.
    public let program: String
    /// The sentence for people.
    public let text: String
    /// The fields for programs.
    public let fields: LogFields

    /// The fields of an entry that are asked of journalctl(1).
    static let journalFields = ["MESSAGE", "SYSLOG_IDENTIFIER", "_EXE", "_TRANSPORT", "_UID"]
    /// The matches that leave out what is not ours, so that a flood of it takes no time here.
    static let matches = ["_TRANSPORT=syslog", "_UID=0"]
    /// The longest line of journalctl(1) that is read: each byte of a message can become a number of four characters.
    static let lineLimit = 64 << 10

    /// Reads a line of `journalctl --output=json`; returns nil if it is no event of ours.
    ///
    /// `folder` is the one of our programs.
    init?(journal line: some Collection<UInt8>, programs folder: String?) {
        guard let entry = Self.entry(line),
            entry["_UID"]?.string == "0", entry["_TRANSPORT"]?.string == "syslog",
            let program = entry["SYSLOG_IDENTIFIER"]?.string, LogLine.programs.contains(program),
            Self.isProgram(entry["_EXE"], program, in: folder),
            let message = Self.bytes(entry["MESSAGE"]), let parts = LogFields.split(message),
            let cursor = Self.cursor(of: entry),
            let time = entry["__REALTIME_TIMESTAMP"]?.string.flatMap({ UInt64($0) })
        else { return nil }
        self.cursor = cursor
        self.time = time
        self.program = program
        text = parts.sentence.onOneLine
        fields = parts.fields
    }

    /// Returns the cursor of any entry of the journal.
    static func cursor(journal line: some Collection<UInt8>) -> String? { entry(line).flatMap { cursor(of: $0) } }

    private static func entry(_ line: some Collection<UInt8>) -> JSONValue? {
        guard line.count <= lineLimit else { return nil }
        return try? JSONText(parsing: Array(line), path: "the journal", limit: lineLimit).root
    }

    private static func cursor(of entry: JSONValue) -> String? {
        entry["__CURSOR"]?.string.flatMap { EventJournal.isCursor($0) ? $0 : nil }
    }

    /// Returns whether an entry's executable is the program; journald knows none of a hook that has ended by then.
    ///
    /// An upgrade replaces the file of a program that runs, whose path then ends in `(deleted)`. A supervisor has detached
    /// the host's file systems: if `/usr` is one of them, the kernel shows its path without `/usr`.
    private static func isProgram(_ executable: JSONValue?, _ program: String, in folder: String?) -> Bool {
        guard let executable else { return true }
        guard let folder, var path = executable.string else { return false }
        let deleted = " (deleted)"
        if path.hasSuffix(deleted) { path.removeLast(deleted.count) }
        let name = folder.split(separator: "/").last ?? ""
        return path.hasPrefix("/") && path.hasSuffix("/\(name)/\(program)") && "\(folder)/\(program)".hasSuffix(path)
    }

    /// Returns a field's bytes: journalctl(1) writes what it takes for unprintable as an array of numbers.
    private static func bytes(_ value: JSONValue?) -> [UInt8]? {
        if let text = value?.string { return Array(text.utf8) }
        guard let elements = value?.elements else { return nil }
        let bytes = elements.compactMap { $0.integer.flatMap { UInt8(exactly: $0) } }
        return bytes.count == elements.count ? bytes : nil
    }
}

extension LoggedEvent {
    /// The event as a JSON object on one line, for programs.
    public var json: String {
        let seconds = Timestamp.utc(time / 1_000_000, "%Y-%m-%dT%H:%M:%S")
        let fraction = String(String(1_000_000 + time % 1_000_000).dropFirst())
        var members = [
            ("time", JSONText.quoted("\(seconds).\(fraction)Z")), ("event", JSONText.quoted(fields.event)),
            ("program", JSONText.quoted(program)),
        ]
        func add(_ name: String, _ value: String?) { if let value { members.append((name, value)) } }
        add("container", fields.subject.container.map(JSONText.quoted))
        add("state", fields.subject.state.map(JSONText.quoted))
        add("tpm", fields.subject.tpm.map { "\($0)" })
        add("reason", fields.details.reason.map(JSONText.quoted))
        add("writes", fields.details.writes.map { "\($0.count)" })
        add("writesMicroseconds", fields.details.writes.map { "\($0.total)" })
        add("longestMicroseconds", fields.details.writes.map { "\($0.longest)" })
        add("text", JSONText.quoted(text))
        add("cursor", JSONText.quoted(cursor))
        return "{" + members.map { "\"\($0)\":\($1)" }.joined(separator: ",") + "}"
    }
}
