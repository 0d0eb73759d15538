import CLinux
import Glibc
import Platform
import RuntimeControl
import Testing

/// The system log: a socket of the test's own stands in for the daemon.
@Suite struct LogTests {
    let temporary: TemporaryDirectory
    let path: String
    let fields = LogFields(.notice)

    init() throws {
        temporary = try TemporaryDirectory()
        path = "\(temporary.path)/log"
    }

    /// A daemon that reads when it is told to.
    final class Daemon {
        private let path: String
        private let socket: Descriptor

        init(_ path: String) throws {
            self.path = path
            socket = Descriptor(
                owning: Glibc.socket(
                    AF_UNIX,
                    CInt(SOCK_DGRAM.rawValue | SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue),
                    0
                )
            )
            let number = socket.number
            try Self.withAddress(path) { address, size in
                try #require(bind(number, address, size) == 0)
            }
        }

        deinit { unlink(path) }

        /// Everything that was sent and not read yet.
        func lines() -> [String] {
            var lines: [String] = []
            var buffer = [UInt8](repeating: 0, count: 65536)
            while true {
                let count = recv(socket.number, &buffer, buffer.count, 0)
                guard count >= 0 else { return lines }
                lines.append(String(decoding: buffer[..<count], as: UTF8.self))
            }
        }

        /// Fills its queue, so that whoever writes to it would have to wait.
        func fill() throws {
            let type = CInt(SOCK_DGRAM.rawValue | SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue)
            let sender = Descriptor(owning: Glibc.socket(AF_UNIX, type, 0))
            try Self.withAddress(path) { address, size in
                try #require(connect(sender.number, address, size) == 0)
            }
            while send(sender.number, "full", 4, 0) == 4 {}
            try #require(errno == EAGAIN)
        }

        private static func withAddress(
            _ path: String,
            _ body: (UnsafePointer<sockaddr>, socklen_t) throws -> Void
        ) throws {
            var address = sockaddr_un()
            address.sun_family = sa_family_t(AF_UNIX)
            withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: Array(path.utf8)) }
            try withUnsafePointer(to: &address) {
                try $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    try body($0, socklen_t(MemoryLayout<sockaddr_un>.size))
                }
            }
        }
    }

    @Test func aLineHasTheFormOfSyslog() throws {
        let daemon = try Daemon(path)
        var log = LogConnection("program", path: path)
        log.send(LOG_ERR, "one\ntwo", fields)
        let line = try #require(daemon.lines().first)
        #expect(line.hasSuffix(" [event=notice]"))
        let form = /<27>[A-Z][a-z]{2} [ 123][0-9] [0-9]{2}:[0-9]{2}:[0-9]{2} program\[([0-9]+)\]: one\?two .*/
        let match = try #require(try form.wholeMatch(in: line), "\(line)")
        #expect(match.1 == "\(getpid())")
    }

    /// What does not fit is lost, and told with the next line that does.
    @Test func aFullQueueIsNotWaitedFor() throws {
        let daemon = try Daemon(path)
        var log = LogConnection("program", path: path)
        try daemon.fill()
        for number in 1...3 { log.send(LOG_NOTICE, "lost \(number)", fields) }
        #expect(daemon.lines().allSatisfy { $0 == "full" })
        log.send(LOG_NOTICE, "first", fields)
        log.send(LOG_NOTICE, "second", fields)
        let lines = daemon.lines()
        try #require(lines.count == 2)
        #expect(lines[0].hasSuffix(": first (lines that the system log did not take before it: 3) [event=notice]"))
        #expect(lines[1].hasSuffix(": second [event=notice]"))
    }

    @Test(arguments: [true, false]) func aDaemonThatWasRestartedIsConnectedToAgain(_ reconnects: Bool) throws {
        var daemon: Daemon? = try Daemon(path)
        var log = LogConnection("program", path: path, reconnects: reconnects)
        daemon = nil
        log.send(LOG_NOTICE, "nobody listens", fields)
        daemon = try Daemon(path)
        log.send(LOG_NOTICE, "again", fields)
        let lines = daemon?.lines() ?? []
        #expect(lines.count == (reconnects ? 1 : 0))
        #expect(
            lines.allSatisfy {
                $0.hasSuffix(": again (lines that the system log did not take before it: 1) [event=notice]")
            }
        )
    }

    @Test func aLineHasABound() throws {
        let daemon = try Daemon(path)
        var log = LogConnection("program", path: path)
        let odd = String(repeating: "\"", count: 1 << 20)
        let writes = WriteTimes(count: .max, total: .max, longest: .max)
        let details = LogDetails(reason: .container, writes: writes)
        let fields = LogFields(.notice, LogSubject(container: odd, state: odd, tpm: .max), details)
        log.send(LOG_NOTICE, String(repeating: "ä", count: 1 << 20), fields)
        let line = try #require(daemon.lines().first)
        #expect(line.utf8.count < 8192 && line.contains("ä [event=notice container=\"\\\""))
        #expect(LogFields(atEndOf: line.utf8) == fields)
    }

    /// What images and annotations put into a line, in its text or in a field, is never taken for its fields.
    @Test func theFieldsOfALineAreReadBack() throws {
        let parts = [
            "\"", "\\", "]", "[event=failed", "[event=failed]", " container=\"victim\"", " state=", "\"]", " tpm=3",
            " ", "é", "\\\"]", " reason=key", " writes=9", " writes-us=9", " longest-us=9]",
        ]
        for _ in 0..<20_000 {
            func text() -> String { (0..<Int.random(in: 0...5)).map { _ in parts.randomElement() ?? "" }.joined() }
            let subject = LogSubject(
                container: Bool.random() ? text() : nil,
                state: Bool.random() ? text() : nil,
                tpm: Bool.random() ? .random(in: 0...9) : nil
            )
            let details = LogDetails(
                reason: Bool.random() ? FailureKind.allCases.randomElement() : nil,
                writes: Bool.random() ? WriteTimes(count: 1, total: .random(in: 0...99), longest: 3) : nil
            )
            let fields = LogFields(LogEvent.allCases.randomElement() ?? .error, subject, details)
            let line = "\(text()) \(fields.text)"
            try #require(LogFields(atEndOf: line.utf8) == fields, "\(line)")
        }
    }

    @Test(arguments: [
        "", "words", "[event=]", "[event=started", "[event=started ]", "[event=started]x", "[event=started  tpm=1]",
        "[event=started container=web]x", "[event=started container=\"web]", "[event=started =1]",
        "[container=\"web\"]",
    ])
    func whatIsNoFieldsIsNone(_ line: String) {
        #expect(LogFields(atEndOf: line.utf8) == nil)
    }

    /// A later version may have more fields and events.
    @Test func fieldsOfALaterVersionArePassedOver() throws {
        let line = #"words [event=some-new-one node="a" container="web" since=12]"#
        let fields = try #require(LogFields(atEndOf: line.utf8))
        #expect(fields.event == "some-new-one")
        #expect(fields.subject == LogSubject(container: "web"))
    }

    /// A real supervisor whose system log stands still creates, stores, answers and stops.
    @Test func aStalledLogStopsNobody() throws {
        let daemon = try Daemon(path)
        try daemon.fill()
        // A /dev of its own, with this log.
        let script = """
            mount -t tmpfs none /dev && mknod -m 0666 /dev/null c 1 3 && ln -s '\(path)' /dev/log && exec "$@"
            """
        let starter = ["/usr/bin/unshare", "--mount", "--propagation", "private", "/bin/sh", "-c", script, "sh"]
        let tpm = try VTPMUnderTest(in: temporary, starter: starter)
        try tpm.create()
        let answer = try tpm.transmit(WorkerTests.defineSpace(1))
        #expect(answer.prefix(10).suffix(4).elementsEqual([0, 0, 0, 0]))
        #expect(try tpm.status().health == .serving)
        #expect(daemon.lines().allSatisfy { $0 == "full" })
        #expect(try tpm.stop() == .exited(0))
        let lines = daemon.lines()
        try #require(lines.count == 1, "\(lines)")
        #expect(lines[0].contains(" vtpm-supervisor["))
        #expect(lines[0].contains("stopped, generation"))
        // That it serves, and what this machine lacks.
        #expect(lines[0].contains(/\(lines that the system log did not take before it: [1-9]\) \[event=/), "\(lines)")
        let fields = try #require(LogFields(atEndOf: lines[0].utf8))
        let subject = LogSubject(container: "container-web", state: "web", tpm: 7)
        let writes = try #require(fields.details.writes)
        #expect(fields == LogFields(.stopped, subject, LogDetails(writes: writes)))
        // The manufacture, the index that was defined, and the shutdown.
        #expect(writes.count >= 3 && writes.longest > 0 && writes.longest <= writes.total, "\(writes)")
    }
}
