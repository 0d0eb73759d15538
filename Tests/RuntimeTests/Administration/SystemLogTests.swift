import Platform
import Testing

@testable import RuntimeAdministration

/// `vtpmctl log`, with log files as syslog daemons write them and a program in journalctl's place.
@Suite struct SystemLogTests {
    private let directory: TemporaryDirectory
    private let fixtures = #filePath.split(separator: "/").dropLast(2).reduce("") { "\($0)/\($1)" } + "/Fixtures/log"

    init() throws {
        directory = try TemporaryDirectory()
    }

    /// A log in which nothing is there until a test puts it there.
    private func emptyLog() -> SystemLog {
        var log = SystemLog()
        log.journal.directories = ["\(directory.path)/journal"]
        log.journal.programs = ["\(directory.path)/journalctl"]
        log.files = ["syslog.1", "syslog", "messages.1", "messages"].map { "\(directory.path)/\($0)" }
        return log
    }

    private func copy(_ fixture: String, to name: String) throws {
        let content = try Descriptor.open("\(fixtures)/\(fixture)", .read).readAll(limit: 65536, fixture)
        try directory.write(name, content)
    }

    /// Puts a script into journalctl's place, and a journal there.
    private func putJournal(_ script: String) throws {
        _ = try directory.directory("journal")
        try directory.write("journalctl", Array("#!/bin/bash\n\(script)\n".utf8))
        _ = try ProgramLaunch("/bin/chmod", ["chmod", "0755", "\(directory.path)/journalctl"]).start().wait()
    }

    /// What was said, without the fields.
    private func messages(_ log: SystemLog, _ container: String?) throws -> [String] {
        try log.lines(about: container).map { line in
            let message = line.raw.split(separator: "]: ", maxSplits: 1).last ?? ""
            return String(message.split(separator: " [event=").first ?? "")
        }
    }

    /// The first is of a version without fields.
    @Test func `a container's lines are those with its field, and no other program's`() throws {
        try copy("syslog", to: "syslog")
        #expect(
            try messages(emptyLog(), "web") == [
                #"vTPM of container "web" stopped, generation 3"#,
                #"vTPM of container "web" is tpm1, state "site", generation 4"#,
                #"vTPM of container "web" stopped, generation 5"#,
                #"poststop of container "web" leaves its vTPM: its init 77 is alive"#,
            ]
        )
    }

    /// What a line says in quotation marks is not what it is about.
    @Test func `a word in a line is no field`() throws {
        try copy("syslog", to: "syslog")
        #expect(throws: Failure.self) { try messages(emptyLog(), "id") }
    }

    @Test func `a state's ID finds all lines of the containers that have had it`() throws {
        try copy("syslog", to: "syslog")
        #expect(try messages(emptyLog(), "site").contains(#"vTPM of container "web" stopped, generation 5"#))
        #expect(try messages(emptyLog(), "site").count == 4)
    }

    @Test func `without a container all of our lines are shown, and those that name none`() throws {
        try copy("syslog", to: "messages")
        let all = try messages(emptyLog(), nil)
        #expect(all.count == 7)
        #expect(all.last == #"cannot read the container's state: it has no "id""#)
    }

    @Test func `the journal comes first, and the first digits of an ID are enough`() throws {
        try copy("syslog", to: "syslog")
        try copy("journal", to: "printed")
        try putJournal(#"echo "$@" >"${0%/*}/arguments"; cat "${0%/*}/printed""#)
        #expect(try messages(emptyLog(), "0123456789ab").count == 1)
        #expect(throws: Failure.self) { try messages(emptyLog(), "0123456") }
        #expect(try messages(emptyLog(), "web") == [#"vTPM of container "web" is tpm1, state "site", generation 6"#])
        #expect(
            String(decoding: try directory.read("arguments"), as: UTF8.self)
                == "--quiet --no-pager --output=short-iso --lines=10000 "
                + "--identifier=vtpm-hook --identifier=vtpm-supervisor --identifier=vtpmctl\n"
        )
    }

    @Test func `where the journal has nothing the files are looked at, the older one too`() throws {
        try copy("syslog", to: "syslog.1")
        try copy("journal", to: "syslog")
        try putJournal("true")
        #expect(try messages(emptyLog(), "web").count == 5)
    }

    @Test func `where no log can be read that is said, and what to look for`() throws {
        let failure = try #require(throws: Failure.self) { try emptyLog().lines(about: "web") }
        #expect(failure.what == #"cannot find lines about "web" in the system log"#)
        #expect(failure.why.hasPrefix("there is no journal, and none of \(directory.path)/syslog.1, "))
        #expect(failure.hint?.hasSuffix("our lines are those of vtpm-hook, vtpm-supervisor, vtpmctl") == true)
    }

    @Test func `where there is no such line it is said where was looked`() throws {
        try copy("syslog", to: "syslog")
        let failure = try #require(throws: Failure.self) { try emptyLog().lines(about: "nobody") }
        #expect(failure.why == "there is none in \(directory.path)/syslog")
        #expect(failure.hint?.contains("by its ID, and not by its engine's name") == true)
    }

    @Test(arguments: [
        ("echo oops; exit 3", "it ended with exit code 3"),
        ("exec sleep 60", "it did not end within 0 s"),
    ])
    func `a journal that cannot be read is named`(script: String, reason: String) throws {
        try putJournal(script)
        var log = emptyLog()
        log.timeout = script.hasPrefix("exec") ? 100 : 20_000
        let failure = try #require(throws: Failure.self) { try log.lines(about: "web") }
        #expect(failure.why.contains(reason))
    }

    @Test func `of a long log the end is read, and what is no file is refused`() throws {
        try copy("syslog", to: "syslog")
        var log = emptyLog()
        log.byteLimit = 300
        #expect(
            try messages(log, nil) == [
                #"vTPM of container "webserver" is tpm2, ephemeral, generation 0"#,
                #"cannot read the container's state: it has no "id""#,
            ]
        )
        _ = try directory.directory("messages")
        let failure = try #require(throws: Failure.self) { try log.lines(about: "nobody") }
        #expect(failure.why.contains("it is no regular file"))
    }

    @Test func `a terminal is not driven by what was logged`() throws {
        try directory.write("syslog", Array("Jan 13 09:00:08 host vtpm-hook[1]: container \"a\": \u{1b}[2J\n".utf8))
        let line = try #require(try emptyLog().lines(about: "a").first)
        #expect(line.raw == "Jan 13 09:00:08 host vtpm-hook[1]: container \"a\": ?[2J")
        #expect(line.words == "Jan 13 09:00:08  container \"a\": ?[2J")
    }

    @Test func `a person gets the time, the words, and what helps`() throws {
        let refusal = LogFields(.refused, LogSubject(container: "db", state: "a \u{1b}b"), LogDetails(reason: .state))
            .text
        for time in ["Jan  3 09:00:08", "2026-01-13T09:00:08+0000"] {
            try directory.write("syslog", Array("\(time) host vtpm-hook[1]: cannot [sic] \(refusal)\n".utf8))
            let line = try #require(try emptyLog().lines(about: "db").first)
            #expect(line.words == "\(time)  cannot [sic]")
            #expect(
                line.advice == "The container did not start: its state is in use, or not the one that it was. "
                    + "See vtpmctl list and vtpmctl state verify 'a ?b'"
            )
        }
    }

    /// Any process of the host may write a line with our name, and root may run what the advice says.
    @Test(arguments: [
        ("x'; echo y|cat; '", #"'x'\''; echo y|cat; '\'''"#), ("$(echo x)", "'$(echo x)'"), ("", "''"),
        ("site/web@1", "site/web@1"), ("e\u{301}'\u{301}x", "'e\u{301}'\\''\u{301}x'"),
    ])
    func `an ID stays one word of the command that helps`(state: String, word: String) throws {
        let fields = LogFields(.refused, LogSubject(container: "db", state: state), LogDetails(reason: .state)).text
        let line = try #require(LogLine("Jan 13 09:00:08 host vtpm-hook[1]: x \(fields)".utf8))
        #expect(line.advice?.hasSuffix(" and vtpmctl state verify \(word)") == true)
        try directory.write("echo", Array("printf %s \(word)".utf8))
        let shell = try ProgramOutput.read("/bin/sh", ["\(directory.path)/echo"], limit: 4096, timeout: 20_000)
        #expect(shell == Array(state.utf8))
    }

    /// With the wrapper, the process that has prepared the TPM says after the hook that it ends.
    @Test func `the advice is that of the hook's own line`() throws {
        let subject = LogSubject(container: "db")
        let refused = LogFields(.refused, subject, LogDetails(reason: .container)).text
        let lines = ["cannot \(refused)", "the runtime has given it up \(LogFields(.notice, subject).text)"]
        try directory.write("syslog", Array(lines.map { "Jan 13 09:00:08 host vtpm-hook[1]: \($0)\n" }.joined().utf8))
        let found = try emptyLog().lines(about: "db")
        #expect(found.count == 2)
        #expect(found.last(where: \.isOutcome)?.advice?.contains("The line above says what to change") == true)
    }

    /// Each kind of error of each bad end has its words, and a good end has none.
    @Test(arguments: FailureKind.allCases) func `each reason has its advice`(_ kind: FailureKind) throws {
        for event in [LogEvent.refused, .failed, .stopped] {
            let fields = LogFields(event, LogSubject(container: "db"), LogDetails(reason: kind)).text
            let line = try #require(LogLine("Jan 13 09:00:08 host vtpm-hook[1]: x \(fields)".utf8))
            #expect(line.advice?.contains(kind == .container ? "line above" : "See ") == true)
        }
        let good = LogFields(.stopped, LogSubject(container: "db")).text
        #expect(LogLine("Jan 13 09:00:08 host vtpm-hook[1]: x \(good)".utf8)?.advice == nil)
        #expect(LogLine("Jan 13 09:00:08 host vtpm-hook[1]: of an older version".utf8)?.advice == nil)
    }
}
