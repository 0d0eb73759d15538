import CLinux
import Glibc
import JSONText
import Platform
import TestSupport
import Testing

@testable import RuntimeAdministration

/// `vtpmctl events`: what programs get.
@Suite struct EventsTests {
    private let fixture: JournalFixture

    init() throws { fixture = try JournalFixture() }

    @Test func `an event is one line of JSON with all that is known`() throws {
        let subject = LogSubject(container: "w\"\\e\u{7f}b", state: "si\nte", tpm: 3)
        let details = LogDetails(reason: .process, writes: WriteTimes(count: 2, total: 30, longest: 20))
        try fixture.add("it stopped \(LogFields(.stopped, subject, details).text)")
        let event = try #require(try fixture.journal.read(after: nil)?.events.first)
        #expect(!event.json.contains("\n"))
        let read = try JSONText(parsing: Array(event.json.utf8), path: "", limit: 65536).root
        #expect(read["time"]?.string == "2027-01-15T08:00:00.000001Z")
        #expect(read["event"]?.string == "stopped" && read["program"]?.string == "vtpm-supervisor")
        #expect(read["container"]?.string == "w\"\\e?b" && read["state"]?.string == "si?te")
        #expect(read["tpm"]?.integer == 3 && read["reason"]?.string == "process")
        #expect(read["writes"]?.integer == 2 && read["writesMicroseconds"]?.integer == 30)
        #expect(read["longestMicroseconds"]?.integer == 20 && read["text"]?.string == "it stopped")
        #expect(read["cursor"]?.string == "s=a0;i=1")
    }

    @Test func `what is not known is left out`() throws {
        try fixture.add("no id [event=refused]", from: "vtpm-hook")
        let event = try #require(try fixture.journal.read(after: nil)?.events.first)
        let read = try JSONText(parsing: Array(event.json.utf8), path: "", limit: 65536).root
        #expect(read.members?.map(\.name) == ["time", "event", "program", "text", "cursor"])
    }

    @Test func `a cursor is where the next call goes on`() throws {
        for _ in 0..<3 { try fixture.addLife() }
        let all = try #require(try fixture.journal.read(after: nil))
        #expect(all.events.count == 6 && all.cursor == "s=a0;i=6" && !all.hasMore)
        let rest = try #require(try fixture.journal.read(after: all.events[3].cursor))
        #expect(rest.events == Array(all.events[4...]))
        #expect(try fixture.journal.read(after: rest.cursor)?.events == [])
    }

    @Test(arguments: ["", "s=1 i=2", "--file=/etc/shadow\n", "s=1\"", "s=\u{e4}"]) func `what is no cursor is refused`(
        _ text: String
    ) {
        #expect(!EventJournal.isCursor(text))
    }

    /// The stand-in ends by itself, as journalctl(1) does only if something is wrong.
    @Test func `a journal is followed until it ends`() throws {
        try fixture.addLife()
        try fixture.add("forged [event=started]", ["_UID": "1000"])
        var seen: [String] = []
        let failure = try #require(throws: Failure.self) {
            try fixture.journal.follow(after: "s=a0;i=1", whileReadFrom: STDERR_FILENO) { seen.append($0.fields.event) }
        }
        #expect(failure.why == "it has ended")
        #expect(seen == ["stopped"])
        let arguments = String(decoding: try fixture.temporary.read("arguments"), as: UTF8.self)
        #expect(arguments.hasSuffix("_TRANSPORT=syslog\n_UID=0\n--no-tail\n--after-cursor=s=a0;i=1\n--follow"))
    }

    /// Nothing is left behind when the reader of the events is gone, even if no event comes any more.
    @Test func `a journal is followed no longer than somebody reads`() throws {
        var ends: [CInt] = [-1, -1]
        #expect(pipe2(&ends, O_CLOEXEC) == 0)
        let output = Descriptor(owning: ends[1])
        close(ends[0])
        let script = "#!/bin/bash\necho $$ >\"${0%/*}/process\"\nexec sleep 600\n"
        try fixture.temporary.write("journalctl", Array(script.utf8))
        try fixture.journal.follow(after: nil, whileReadFrom: output.number) { _ in Issue.record("there is none") }
        guard fixture.temporary.exists("process") else { return }
        let process = pid_t(String(decoding: try fixture.temporary.read("process").dropLast(), as: UTF8.self)) ?? 0
        #expect(process == 0 || kill(process, 0) != 0)
    }

    /// Whatever is in the journal under our names: it is no event, or one that other programs can read.
    @Test func `no line of the journal is too odd`() throws {
        var random = SeededGenerator(seed: 16)
        let fields = LogFields(.stopped, LogSubject(container: "w\"b", tpm: 3), LogDetails(reason: .key)).text
        let line = Array(JournalFixture.line(1, "it stopped \(fields)").utf8)
        let parts = ["\"", "\\", "[", "]", "{", "[event=", "null", "\u{1}", "9", "\\u0000", "\\n", "}", ":", ","].map {
            Array($0.utf8)
        }
        var count = 0
        for _ in 0..<5000 {
            var odd = line
            for _ in 0..<Int.random(in: 0...2, using: &random) {
                let place = Int.random(in: 0..<odd.count, using: &random)
                odd.replaceSubrange(place..<min(place + 1, odd.count), with: parts.randomElement(using: &random) ?? [])
            }
            guard let event = LoggedEvent(journal: odd, programs: "/usr/libexec/container-vtpm") else { continue }
            count += 1
            let json = Array(event.json.utf8)
            #expect(throws: Never.self) { try JSONText(parsing: json, path: "", limit: 1 << 20) }
            #expect(!json.contains { $0 < 0x20 })
        }
        #expect(count > 1000)
    }
}
