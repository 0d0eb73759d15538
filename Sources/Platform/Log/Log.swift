import CLinux
import Glibc

/// The system log, in the form of syslog(3), for which no program waits.
///
/// syslog(3) itself blocks while the daemon behind `/dev/log` reads nothing (unix(7), `max_dgram_qlen`). A stalled
/// journal would then stop every store, creation and stop. Here, a line that the daemon does not accept at once is
/// lost. The next line that it accepts says how many were lost.
public enum Log {
    private nonisolated(unsafe) static var connection: LogConnection?

    /// Sets the program's name for its lines, and connects; call it once, at the start of a program that logs.
    ///
    /// A program that enters a container's mount namespace does not connect again: `/dev/log` could be the container's.
    public static func open(_ program: String, reconnects: Bool = true) {
        connection = LogConnection(program, reconnects: reconnects)
    }

    /// The subject of all lines that name none of their own.
    ///
    /// Hook and supervisor work for one container, and set it as they learn about the container.
    public nonisolated(unsafe) static var subject = LogSubject()

    /// Writes a line about a normal event.
    public static func notice(
        _ text: String,
        _ event: LogEvent = .notice,
        about subject: LogSubject? = nil,
        _ details: LogDetails = LogDetails()
    ) {
        connection?.send(LOG_NOTICE, text, LogFields(event, subject ?? Log.subject, details))
    }

    /// Writes a line that an operator has to look at.
    public static func error(
        _ text: String,
        _ event: LogEvent = .error,
        about subject: LogSubject? = nil,
        _ details: LogDetails = LogDetails()
    ) {
        connection?.send(LOG_ERR, text, LogFields(event, subject ?? Log.subject, details))
    }
}

/// A socket of our own to the system log. RFC 3164, in the form of syslog(3)
package struct LogConnection: ~Copyable {
    /// The longest text of a line, in bytes.
    ///
    /// With its fields, whose values can be twice ``LogFields/valueLimit`` once they are quoted, it stays below the 8
    /// KiB at which rsyslog cuts unless it is told otherwise ($MaxMessageSize).
    package static let textLimit = 5 * 1024

    /// The size below which a whole line stays, in bytes.
    static let lineLimit = 8 * 1024

    private let program: String
    private let path: String
    private let reconnects: Bool
    private var socket: Descriptor?
    /// How many lines were lost since the last one that got through.
    private var lost = 0

    /// Connects if the daemon listens.
    package init(_ program: String, path: String = "/dev/log", reconnects: Bool = true) {
        self.program = program
        self.path = path
        self.reconnects = reconnects
        // The time zone's file is read now: later it may be out of reach.
        tzset()
        socket = Self.connect(to: path)
    }

    /// Sends one line, or counts it as lost.
    package mutating func send(_ severity: CInt, _ text: String, _ fields: LogFields) {
        let text = text.onOneLine.cut(toBytes: Self.textLimit)
        let note = lost == 0 ? "" : " (lines that the system log did not take before it: \(lost))"
        // Without a year: `Nov  3 07:08:09`.
        let time = Timestamp.localNow("%b %e %H:%M:%S")
        let origin = "<\(LOG_DAEMON | severity)>\(time) \(program)[\(getpid())]"
        let line = Array("\(origin): \(text)\(note) \(fields.text)".utf8)
        lost = deliver(line) ? 0 : lost + 1
    }

    /// Closes the socket, as if the daemon had been restarted.
    package mutating func disconnect() { socket = nil }

    private mutating func deliver(_ line: [UInt8]) -> Bool {
        var code = transmit(line)
        // A full queue is EAGAIN. Anything else says that the daemon is gone, or is another one by now.
        if code != 0, code != EAGAIN, code != ENOBUFS, reconnects {
            socket = Self.connect(to: path)
            code = transmit(line)
        }
        return code == 0
    }

    /// Sends a line; returns 0, or the `errno`.
    private borrowing func transmit(_ line: [UInt8]) -> CInt {
        let number: CInt
        switch socket {
        case .none: return ENOTCONN
        case .some(let socket): number = socket.number
        }
        let sent = line.withUnsafeBytes {
            Glibc.send(number, $0.baseAddress, $0.count, CInt(MSG_DONTWAIT) | CInt(MSG_NOSIGNAL))
        }
        return sent < 0 ? errno : 0
    }

    private static func connect(to path: String) -> Descriptor? {
        let number = Glibc.socket(AF_UNIX, CInt(SOCK_DGRAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        guard number >= 0 else { return nil }
        let socket = Descriptor(owning: number)
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        let bytes = Array(path.utf8)
        guard bytes.count < MemoryLayout.size(ofValue: address.sun_path) else { return nil }
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: bytes) }
        let result = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                Glibc.connect(number, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        guard result == 0 else { return nil }
        return socket
    }
}
