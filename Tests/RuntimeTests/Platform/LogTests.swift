import CLinux
import Glibc
import Platform
import RuntimeControl
import Testing

/// The system log: a socket of the test's own stands in for the daemon.
@Suite struct LogTests {
    let temporary: TemporaryDirectory
    let path: String

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
        log.send(LOG_ERR, "one\ntwo")
        let line = try #require(daemon.lines().first)
        let form = /<27>[A-Z][a-z]{2} [ 123][0-9] [0-9]{2}:[0-9]{2}:[0-9]{2} program\[([0-9]+)\]: one\?two/
        let match = try #require(try form.wholeMatch(in: line), "\(line)")
        #expect(match.1 == "\(getpid())")
    }

    /// What does not fit is lost, and told with the next line that does.
    @Test func aFullQueueIsNotWaitedFor() throws {
        let daemon = try Daemon(path)
        var log = LogConnection("program", path: path)
        try daemon.fill()
        for number in 1...3 { log.send(LOG_NOTICE, "lost \(number)") }
        #expect(daemon.lines().allSatisfy { $0 == "full" })
        log.send(LOG_NOTICE, "first")
        log.send(LOG_NOTICE, "second")
        let lines = daemon.lines()
        try #require(lines.count == 2)
        #expect(lines[0].hasSuffix(": first (lines that the system log did not take before it: 3)"))
        #expect(lines[1].hasSuffix(": second"))
    }

    @Test(arguments: [true, false]) func aDaemonThatWasRestartedIsConnectedToAgain(_ reconnects: Bool) throws {
        var daemon: Daemon? = try Daemon(path)
        var log = LogConnection("program", path: path, reconnects: reconnects)
        daemon = nil
        log.send(LOG_NOTICE, "nobody listens")
        daemon = try Daemon(path)
        log.send(LOG_NOTICE, "again")
        let lines = daemon?.lines() ?? []
        #expect(lines.count == (reconnects ? 1 : 0))
        #expect(
            lines.allSatisfy { $0.hasSuffix(": again (lines that the system log did not take before it: 1)") }
        )
    }

    @Test func aLineHasABound() throws {
        let daemon = try Daemon(path)
        var log = LogConnection("program", path: path)
        log.send(LOG_NOTICE, String(repeating: "ä", count: 1 << 20))
        let line = try #require(daemon.lines().first)
        #expect(line.utf8.count < 8192 && line.hasSuffix("ä"))
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
        #expect(lines[0].contains(/\(lines that the system log did not take before it: [1-9]\)$/), "\(lines)")
    }
}
