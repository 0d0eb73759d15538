import CLinux
import Glibc
import JSONText
import Platform
import RuntimeControl
import Testing

@testable import RuntimeAdministration
@testable import RuntimeLease

/// `vtpmctl metrics`: what is counted, what is not, and what nobody learns from it.
@Suite struct MetricsTests {
    private let fixture: JournalFixture

    init() throws { fixture = try JournalFixture() }

    private static let refusal = LogFields(.refused, LogSubject(container: "db"), LogDetails(reason: .state)).text
    private static let failure = LogFields(.failed, LogSubject(container: "db"), LogDetails(reason: .disk)).text

    @Test func `starts, stops, refusals, failures and writes are counted`() throws {
        try fixture.addLife()
        try fixture.addLife(of: "other")
        try fixture.add("container \"db\": cannot use the state \(Self.refusal)", from: "vtpm-hook")
        // The same refusal, as its supervisor tells it.
        try fixture.add("db: cannot use the state \(Self.refusal)")
        try fixture.add("failed \(Self.failure)")
        // With the wrapper, the process that has prepared the TPM ends with the refused container.
        let notice = LogFields(.notice, LogSubject(container: "db")).text
        try fixture.add("container \"db\": the runtime has given it up \(notice)", from: "vtpm-hook")
        let killed = LogFields(.stopped, LogSubject(container: "c"), LogDetails(reason: .process))
        try fixture.add("stopped without TPM2_Shutdown \(killed.text)")
        // Of a version that told no reason, and of one that knows more.
        try fixture.add("container \"e\": no [event=refused container=\"e\"]", from: "vtpm-hook")
        try fixture.add("container \"e\": no [event=refused container=\"e\" reason=gremlins]", from: "vtpm-hook")
        let lines = try fixture.count().split(separator: "\n").map(String.init)
        for line in [
            "container_vtpm_starts_total 2", "container_vtpm_stops_total{shutdown=\"orderly\"} 2",
            "container_vtpm_stops_total{shutdown=\"none\"} 1", "container_vtpm_refusals_total{reason=\"state\"} 1",
            "container_vtpm_refusals_total{reason=\"other\"} 2", "container_vtpm_refusals_total{reason=\"key\"} 0",
            "container_vtpm_failures_total{reason=\"disk\"} 1", "container_vtpm_state_write_seconds_count 8",
            "container_vtpm_state_write_seconds_sum 5.000000", "container_vtpm_state_write_longest_seconds 1.000001",
            "container_vtpm_log_readable 1",
        ] {
            #expect(lines.contains(line), "\(line) in \(lines)")
        }
    }

    @Test func `each event is counted once, over all calls`() throws {
        try fixture.addLife()
        #expect(try fixture.count().contains("container_vtpm_starts_total 1\n"))
        #expect(try fixture.count().contains("container_vtpm_starts_total 1\n"))
        try fixture.addLife()
        #expect(try fixture.count().contains("container_vtpm_starts_total 2\n"))
        // A cursor that is lost begins anew, which who reads counters takes for a restart.
        unlink("\(fixture.temporary.path)/totals")
        #expect(try fixture.count().contains("container_vtpm_starts_total 2\n"))
    }

    /// Any process of the host may write to the log, under any name.
    @Test(
        arguments: [
            ("vtpm-supervisor", ["_UID": "1000"]),
            ("vtpm-supervisor", ["_UID": ""]),
            ("vtpm-supervisor", ["_TRANSPORT": "journal"]),
            ("vtpm-supervisor", ["_EXE": "/usr/bin/logger"]),
            ("vtpm-supervisor", ["_EXE": "/tmp/not-vtpm-supervisor"]),
            ("vtpm-supervisor", ["_EXE": "/tmp/vtpm-supervisor"]),
            ("vtpm-supervisor", ["_EXE": "/vtpm-supervisor"]),
            ("vtpm-supervisor", ["_EXE": "/tmp/container-vtpm/vtpm-supervisor"]),
            ("vtpm-supervisor", ["_EXE": "/tmp/usr/libexec/container-vtpm/vtpm-supervisor"]),
            ("vtpm-supervisor", ["_EXE": "/usr/libexec/container-vtpm/vtpm-hook"]),
            ("logger", [:]),
            // What the hook never says.
            ("vtpm-hook", [:]),
        ] as [(String, [String: String])]
    )
    func `a forged line changes no number`(_ program: String, _ trusted: [String: String]) throws {
        try fixture.addLife()
        let before = try fixture.count()
        let forged = LogFields(.started, LogSubject(container: "web", state: "site", tpm: 1)).text
        try fixture.add("vTPM of container \"web\" is tpm1 \(forged)", from: program, trusted)
        #expect(try fixture.count() == before)
        // So that a flood of it is not even read.
        let arguments = String(decoding: try fixture.temporary.read("arguments"), as: UTF8.self)
        #expect(arguments.contains("_TRANSPORT=syslog\n_UID=0"))
    }

    /// What a container is called stands in the text and in quoted fields, never where fields are.
    @Test func `a name that looks like an event is none`() throws {
        try fixture.addLife(of: "x\" [event=failed reason=key]", state: "[event=refused reason=disk]")
        let text = try fixture.count()
        #expect(text.contains("container_vtpm_starts_total 1\n"))
        #expect(text.contains("failures_total{reason=\"key\"} 0\n") && text.contains("{reason=\"disk\"} 0\n"))
    }

    @Test func `what is no entry is passed over`() throws {
        for line in ["", "null", "{", "{\"MESSAGE\":null}", "[]", "\u{1}", "{\"__CURSOR\":[1]}"] {
            try fixture.add(line: line)
        }
        // What journalctl takes for unprintable comes as numbers.
        let message = "vTPM [event=started container=\"ä\"]"
        let numbers = "[" + message.utf8.map { "\($0)" }.joined(separator: ",") + "]"
        let line = JournalFixture.line(9, "TEXT").split(separator: "\"TEXT\"")
        try fixture.add(line: line[0] + numbers + line[1])
        // An upgrade has replaced the program's file; the hook had ended when journald looked.
        try fixture.add(message, ["_EXE": "/usr/libexec/container-vtpm/vtpm-supervisor (deleted)"])
        // /usr is a file system of its own.
        try fixture.add(message, ["_EXE": "/libexec/container-vtpm/vtpm-supervisor"])
        try fixture.add("container \"db\" \(Self.refusal)", from: "vtpm-hook", ["_EXE": ""])
        let text = try fixture.count()
        #expect(text.contains("container_vtpm_starts_total 3\n"))
        #expect(text.contains("container_vtpm_refusals_total{reason=\"state\"} 1\n"))
    }

    /// Each call reads so much, and the next one goes on.
    @Test func `a long journal is counted in parts`() throws {
        for _ in 0..<20 { try fixture.addLife() }
        var journal = fixture.journal
        journal.byteLimit = 2000
        var totals = MetricTotals()
        var calls = 0
        while calls < 100, let batch = try journal.read(after: totals.cursor), !batch.events.isEmpty {
            #expect(batch.events.count < 10)
            totals.count(batch)
            calls += 1
        }
        #expect(totals.starts == 20 && totals.orderlyStops == 20 && calls > 5)
        // Entries that are no events, such as those of versions without fields, do not hold it up.
        for _ in 0..<20 { try fixture.add("vTPM of container \"web\" stopped") }
        let batch = try #require(try journal.read(after: totals.cursor))
        #expect(batch.events.isEmpty && batch.hasMore && batch.cursor != totals.cursor)
        // One that holds no whole entry would stand still.
        journal.byteLimit = 10
        #expect(throws: Failure.self) { try journal.read(after: nil) }
    }

    @Test func `totals that are damaged are named, and stay`() throws {
        try fixture.addLife()
        _ = try fixture.count()
        let whole = String(decoding: try fixture.temporary.read("totals"), as: UTF8.self)
        #expect(MetricTotals(decoding: whole)?.encoded == whole)
        for damaged in ["", String(whole.dropLast()), whole + "x 1\n", whole + "starts -1\n", whole + "cursor a b\n"] {
            try fixture.temporary.write("totals", Array(damaged.utf8))
            let failure = try #require(throws: Failure.self) { try fixture.count() }
            #expect(failure.hint == "remove it: the counters begin at 0 again")
            #expect(try fixture.temporary.read("totals") == Array(damaged.utf8))
        }
    }

    @Test func `numbers of a log stop at their limit`() throws {
        let huge = LogDetails(writes: WriteTimes(count: .max, total: .max, longest: .max))
        for _ in 0..<2 { try fixture.add("stopped \(LogFields(.stopped, LogSubject(), huge).text)") }
        #expect(try fixture.count().contains("state_write_seconds_count \(UInt64.max)\n"))
    }

    /// Neither leases nor the log tell a metric whose they are.
    @Test func `no metric names anything`() throws {
        let names = ["secret-container", "secret-state", "secret-bundle", "secret-image", "secret-unit"]
        let temporary = fixture.temporary
        let paths = HostPaths(below: temporary.path, programs: "/")
        _ = try temporary.directory("run")
        _ = try temporary.directory("states/\(names[1])")
        let opened = OpenLease("l", try temporary.directory("run/l"))
        let process = try ProcessID(of: getpid())
        try opened.write(
            Lease(
                containerID: names[0],
                bundle: "/\(names[2])",
                stateID: names[1],
                initProcess: process,
                supervisor: process,
                worker: process,
                library: nil,
                tpmNumber: 1,
                tpm: "10:224",
                tpmrm: "253:65539",
                place: .unit(names[4])
            )
        )
        try fixture.addLife(of: names[0], state: names[1])
        try fixture.add("container \"\(names[0])\": cannot use \(names[3]) \(Self.refusal)", from: "vtpm-hook")
        try fixture.add("cannot \(names[3]) [event=refused reason=secret-image]", from: "vtpm-hook")
        _ = try fixture.count()
        var metrics = HostMetrics()
        #expect(try metrics.examine(paths).isEmpty)
        metrics.keyWritten = 1
        metrics.totals = try MetricTotals.update("\(temporary.path)/totals") { (_) throws(Failure) in }
        // It has seen them all the same.
        #expect(metrics.vtpms == [.lost: 1] && metrics.states == 1 && metrics.totals?.starts == 1)
        let kept = String(decoding: try temporary.read("totals"), as: UTF8.self)
        for name in names { #expect(!metrics.text.contains(name) && !kept.contains(name), "\(name)") }
        let labels = metrics.text.matches(of: /\{([a-z]+)="([a-z-]+)"\}/).map { "\($0.1)=\($0.2)" }
        let allowed =
            HostMetrics.Health.allCases.map { "health=\($0.rawValue)" } + ["shutdown=orderly", "shutdown=none"]
            + FailureKind.allCases.map { "reason=\($0.rawValue)" }
        #expect(Set(labels) == Set(allowed) && metrics.text.count { $0 == "{" } == labels.count)
    }

    /// The parsers of the reference implementation: OpenMetrics', and that of the form that the node exporter reads.
    @Test func `parsers of others read it`() throws {
        try fixture.addLife()
        var metrics = HostMetrics()
        let empty = metrics.text
        metrics.keyWritten = 1_800_000_000
        metrics.totals = MetricTotals()
        for text in [empty, metrics.text, try fixture.count()] {
            try fixture.temporary.write("text", Array(text.utf8))
            let script = """
                import sys
                from prometheus_client.openmetrics import parser as strict
                from prometheus_client import parser
                text = open(sys.argv[1]).read()
                samples = {(s.name, tuple(s.labels.items())): s.value
                           for f in strict.text_string_to_metric_families(text) for s in f.samples}
                others = {(s.name, tuple(s.labels.items())): s.value
                          for f in parser.text_string_to_metric_families(text) for s in f.samples}
                assert samples and samples == others, (samples, others)
                """
            let launch = ProgramLaunch("/usr/bin/python3", ["python3", "-c", script, "\(fixture.temporary.path)/text"])
            #expect(try launch.start().wait() == .exited(0), "\(text)")
        }
    }

    /// The node exporter runs as another user, and may own the directory.
    @Test func `a file is replaced in one step, whatever is at the temporary name`() throws {
        let temporary = fixture.temporary
        try temporary.write("victim", Array("mine".utf8))
        let place = FilePlace("\(temporary.path)/vtpm.prom")
        #expect(FilePlace("vtpm.prom").directory == "." && FilePlace("/vtpm.prom").directory == "/")
        let directory = try Descriptor.open(place.directory, .directory)
        let before = umask(0o077)
        defer { umask(before) }
        for make in [symlink, link] {
            #expect(make("\(temporary.path)/victim", "\(temporary.path)/.vtpm.prom.new") == 0)
            try place.replace(Array("new".utf8), mode: 0o644, in: directory)
            #expect(try temporary.read("vtpm.prom") == Array("new".utf8))
            #expect(try temporary.read("victim") == Array("mine".utf8))
            let status = try Descriptor.open("\(temporary.path)/vtpm.prom", .read).status("")
            #expect(status.st_mode & 0o7777 == 0o644)
            #expect(!temporary.exists(".vtpm.prom.new"))
        }
    }

    @Test func `what is no file is not replaced`() throws {
        let temporary = fixture.temporary
        let place = FilePlace("\(temporary.path)/vtpm.prom")
        #expect(mkfifo("\(temporary.path)/vtpm.prom", 0o600) == 0)
        let directory = try Descriptor.open(place.directory, .directory)
        let failure = #expect(throws: Failure.self) { try place.replace([], mode: 0o644, in: directory) }
        #expect(failure.map { "\($0)" } == "cannot replace \(temporary.path)/vtpm.prom: it is no regular file")
        #expect(!temporary.exists(".vtpm.prom.new"))
    }

    /// An import of the same key writes its file, and a failed TPM logs no stop.
    @Test func `a metric promises no more than it tells`() {
        var metrics = HostMetrics()
        metrics.keyWritten = 1
        metrics.totals = MetricTotals()
        let help = metrics.text.split(separator: "\n").filter { $0.hasPrefix("# HELP ") }
        #expect(help.contains { $0.contains("master_key") && $0.hasSuffix("was last written.") })
        #expect(help.contains { $0.contains("vtpm_stops") && $0.hasSuffix("without those that had failed.") })
    }

    @Test func `without a journal there are no counters`() throws {
        var journal = fixture.journal
        #expect(journal.exists)
        _ = try fixture.temporary.directory("empty")
        for directory in ["/nonexistent", "\(fixture.temporary.path)/empty"] {
            journal.directories = [directory]
            #expect(try journal.read(after: nil) == nil && !journal.exists)
        }
        let text = HostMetrics().text
        #expect(text.contains("container_vtpm_log_readable 0\n") && !text.contains("_total"))
    }
}
