import CLinux
import Glibc
import Platform

/// A connection to systemd's manager over the socket that systemctl(1) uses as root.
///
/// No message bus is needed for it.
final class ManagerConnection {
    /// The process that has to be at the other end.
    struct Peer {
        /// The path of its socket.
        var socket = "/run/systemd/private"
        /// Its process ID.
        var process: pid_t = 1
        /// Its user.
        var user: uid_t = 0
    }

    let library: SystemdLibrary
    private let bus: SystemdLibrary.Bus

    /// The timeout for a call in microseconds.
    private static let timeout: UInt64 = 20_000_000
    private static let what = "cannot connect to systemd"

    /// Connects to systemd and checks that it is systemd; the connection ends with the process.
    init(to peer: Peer = Peer()) throws(Failure) {
        let library = try SystemdLibrary()
        var bus: SystemdLibrary.Bus?
        try Self.check(library.newBus(&bus), "sd_bus_new", Self.what)
        guard let bus else { throw Failure(Self.what, call: "sd_bus_new", code: ENOMEM) }
        try Self.check(library.setAddress(bus, "unix:path=\(peer.socket)"), "sd_bus_set_address", Self.what)
        try Self.check(library.start(bus), "connect to \(peer.socket)", Self.what)
        try Self.check(peer, at: library.fileDescriptor(bus))
        self.library = library
        self.bus = bus
    }

    /// Throws unless the process that has made the socket is the one that is expected. unix(7), SO_PEERCRED
    private static func check(_ peer: Peer, at socket: CInt) throws(Failure) {
        var found = clinux_ucred()
        var size = socklen_t(MemoryLayout<clinux_ucred>.size)
        try systemCall("getsockopt SO_PEERCRED", what) { getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &found, &size) }
        guard found.pid == peer.process, found.uid == peer.user else {
            throw Failure(what, because: "\(peer.socket) is process \(found.pid)'s, of user \(found.uid)")
        }
    }

    /// Creates a message that calls a method.
    func methodCall(
        _ method: String,
        of interface: String,
        at object: String = "/org/freedesktop/systemd1"
    ) throws(Failure) -> BusMessage {
        let what = "cannot call \(method)"
        var message: SystemdLibrary.Message?
        let result = library.newMethodCall(bus, &message, "org.freedesktop.systemd1", object, interface, method)
        try Self.check(result, "sd_bus_message_new_method_call", what)
        guard let message else { throw Failure(what, call: "sd_bus_message_new_method_call", code: ENOMEM) }
        return BusMessage(owning: message, in: library, what: what)
    }

    /// Sends a call and returns its answer.
    func send(_ call: BusMessage) throws(Failure) -> BusMessage {
        guard let answer = try send(call, orError: nil) else { throw Failure(call.what, because: "there is no answer") }
        return answer
    }

    /// Sends a call and returns its answer; returns nil if that is the error of this name.
    ///
    /// The names of errors are D-Bus's, such as `org.freedesktop.systemd1.NoSuchUnit`.
    func send(_ call: BusMessage, orError expected: String?) throws(Failure) -> BusMessage? {
        var error = clinux_sd_bus_error()
        defer { library.freeError(&error) }
        var answer: SystemdLibrary.Message?
        let result = library.call(bus, call.message, Self.timeout, &error, &answer)
        guard result < 0 else {
            return answer.map { BusMessage(owning: $0, in: library, what: "cannot read systemd's answer") }
        }
        if let name = error.name, String(cString: name) == expected { return nil }
        let message = error.message.map { String(cString: $0) } ?? String(cString: strerror(-result))
        throw Failure(call.what, because: message.cut(toBytes: Failure.relayedLimit / 2), code: -result)
    }

    private static func check(_ result: CInt, _ call: String, _ what: String) throws(Failure) {
        guard result >= 0 else { throw Failure(what, call: call, code: -result) }
    }
}
