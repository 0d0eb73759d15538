import JSONText
import Platform
import Testing

@testable import RuntimeAdministration

/// A journal with the entries that a test puts in, read by a program in journalctl's place.
final class JournalFixture {
    let temporary: TemporaryDirectory
    private var entries: [String] = []

    init() throws {
        temporary = try TemporaryDirectory()
        let fixtures = #filePath.split(separator: "/").dropLast(3).reduce("") { "\($0)/\($1)" } + "/Fixtures/log"
        try temporary.write("journalctl", Descriptor.open("\(fixtures)/journalctl", .read).readAll(limit: 65536, ""))
        _ = try ProgramLaunch("/bin/chmod", ["chmod", "0755", "\(temporary.path)/journalctl"]).start().wait()
        try temporary.write("entries", [])
    }

    var journal: EventJournal {
        var journal = EventJournal()
        journal.directories = [temporary.path]
        journal.folder = "/usr/libexec/container-vtpm"
        journal.programs = ["\(temporary.path)/journalctl"]
        return journal
    }

    /// The line of an entry, by a program of ours where nothing else is said.
    static func line(
        _ number: Int,
        _ message: String,
        from program: String = "vtpm-supervisor",
        _ trusted: [String: String] = [:]
    ) -> String {
        var members = [
            "__CURSOR": "s=a0;i=\(number)", "__REALTIME_TIMESTAMP": "\(1_800_000_000_000_000 + number)",
            "MESSAGE": message, "SYSLOG_IDENTIFIER": program, "_TRANSPORT": "syslog", "_UID": "0",
            "_EXE": "/usr/libexec/container-vtpm/\(program)",
        ]
        for (name, value) in trusted { members[name] = value.isEmpty ? nil : value }
        return "{" + members.map { "\"\($0)\":\(JSONText.quoted($1))" }.joined(separator: ",") + "}"
    }

    /// Adds an entry as journalctl(1) prints it.
    func add(_ message: String, from program: String = "vtpm-supervisor", _ trusted: [String: String] = [:]) throws {
        try add(line: Self.line(entries.count + 1, message, from: program, trusted))
    }

    func add(line: String) throws {
        entries.append(line)
        try temporary.write("entries", Array((entries.joined(separator: "\n") + "\n").utf8))
    }

    /// Adds the life of a container whose names are these.
    func addLife(of container: String = "web", state: String = "site") throws {
        let subject = LogSubject(container: container, state: state, tpm: 1)
        let writes = WriteTimes(count: 4, total: 2_500_000, longest: 1_000_001)
        try add("vTPM of container \"\(container)\" is tpm1 \(LogFields(.started, subject).text)")
        try add("vTPM stopped \(LogFields(.stopped, subject, LogDetails(writes: writes)).text)")
    }

    /// Counts on in a file, and returns the text of the metrics.
    func count() throws -> String {
        var metrics = HostMetrics()
        metrics.totals = try MetricTotals.update("\(temporary.path)/totals") { (totals) throws(Failure) in
            if let batch = try journal.read(after: totals.cursor) { totals.count(batch) }
        }
        return metrics.text
    }
}
