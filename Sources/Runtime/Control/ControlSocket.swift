import CLinux
import Glibc
import Platform

/// The socket in a lease's directory on which the supervisor answers poststop and `vtpmctl`.
///
/// Only root can reach the directories above it (0700). The supervisor checks the peer's user nevertheless.
public enum ControlSocket {
    /// Its name in the lease's directory.
    public static let name = "control"

    /// Makes the socket in an open directory, and listens on it.
    public static func listen(
        in directory: borrowing Descriptor,
        as name: String = ControlSocket.name
    ) throws(Failure) -> Descriptor {
        let socket = try makeSocket()
        var address = try address(of: name, in: directory)
        let number = socket.number
        let what = "cannot listen on the control socket"
        try withAddress(&address) { (pointer, length) throws(Failure) in
            try systemCall("bind", what) { bind(number, pointer, length) }
        }
        // A client may be gone again between poll(2) and accept(2), which must not wait for the next one.
        try systemCall("fcntl F_SETFL", what) { fcntl(number, F_SETFL, O_NONBLOCK) }
        try systemCall("listen", what) { Glibc.listen(number, 8) }
        return socket
    }

    /// Connects to the supervisor of the lease with this directory.
    ///
    /// A supervisor that is stopped accepts no connection, and soon the queue of connections is full (listen(2)). Then
    /// this waits until the deadline, by default for 2 s.
    public static func connect(
        in directory: borrowing Descriptor,
        as name: String = ControlSocket.name,
        of peer: String = "supervisor",
        until deadline: Deadline = Deadline(milliseconds: 2000)
    ) throws(Failure) -> Channel {
        let what = "cannot reach the \(peer)"
        let socket = try makeSocket()
        var address = try address(of: name, in: directory)
        let number = socket.number
        try setPatience(max(deadline.remaining, 1), of: socket)
        do {
            try withAddress(&address) { (pointer, length) throws(Failure) in
                try systemCall("connect", what) { Glibc.connect(number, pointer, length) }
            }
        } catch let error where error.code == EAGAIN {
            throw Failure(what, because: "it accepts no connection", code: EAGAIN)
        }
        try setPatience(0, of: socket)
        return Channel(owning: socket, peer: peer)
    }

    /// Sets how long a call that sends or connects may wait, in milliseconds; 0 stands for no limit. socket(7)
    private static func setPatience(_ milliseconds: Int, of socket: borrowing Descriptor) throws(Failure) {
        var time = timeval(tv_sec: milliseconds / 1000, tv_usec: milliseconds % 1000 * 1000)
        let number = socket.number
        try systemCall("setsockopt SO_SNDTIMEO", "cannot set a socket's timeout") {
            setsockopt(number, SOL_SOCKET, SO_SNDTIMEO, &time, socklen_t(MemoryLayout<timeval>.size))
        }
    }

    /// Accepts one connection of root's; returns nil if there is none, or if the peer is somebody else.
    public static func accept(from listener: borrowing Descriptor) throws(Failure) -> Channel? {
        let number = listener.number
        let connection: Descriptor
        do {
            connection = Descriptor(
                owning: try systemCall("accept4", "cannot accept a control connection") {
                    accept4(number, nil, nil, CInt(SOCK_CLOEXEC.rawValue))
                }
            )
        } catch let error where error.code == EAGAIN || error.code == ECONNABORTED {
            return nil
        }
        let credentials = try credentials(of: connection)
        guard credentials.uid == 0 || credentials.uid == geteuid() else { return nil }
        return Channel(owning: connection, peer: "control client")
    }

    /// Returns the ID of the process at the other end: the one that listens, or that has made the pair of sockets.
    public static func peer(of channel: Channel) throws(Failure) -> pid_t {
        try credentials(of: channel.descriptor).pid
    }

    /// Returns the credentials of the process at the other end of a socket. unix(7), SO_PEERCRED
    ///
    /// For a client, that is the process that has called listen(2).
    private static func credentials(of socket: borrowing Descriptor) throws(Failure) -> clinux_ucred {
        var credentials = clinux_ucred()
        var size = socklen_t(MemoryLayout<clinux_ucred>.size)
        let number = socket.number
        try systemCall("getsockopt SO_PEERCRED", "cannot identify a control connection") {
            getsockopt(number, SOL_SOCKET, SO_PEERCRED, &credentials, &size)
        }
        return credentials
    }

    private static func makeSocket() throws(Failure) -> Descriptor {
        Descriptor(
            owning: try systemCall("socket", "cannot create a control socket") {
                socket(AF_UNIX, CInt(SOCK_SEQPACKET.rawValue | SOCK_CLOEXEC.rawValue), 0)
            }
        )
    }

    /// The address goes through the open directory: a path could be longer than an address (108 bytes, unix(7)).
    private static func address(
        of name: String,
        in directory: borrowing Descriptor
    ) throws(Failure) -> sockaddr_un {
        // The kernel takes the path from here, so that nobody looks at /proc again.
        _ = try Procfs()
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        let path = Array("/proc/self/fd/\(directory.number)/\(name)".utf8)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path) }
        return address
    }

    private static func withAddress(
        _ address: inout sockaddr_un,
        _ body: (UnsafePointer<sockaddr>, socklen_t) throws(Failure) -> Void
    ) throws(Failure) {
        let length = socklen_t(MemoryLayout<sockaddr_un>.size)
        let result: Result<Void, Failure> = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { pointer in
                do throws(Failure) {
                    return .success(try body(pointer, length))
                } catch {
                    return .failure(error)
                }
            }
        }
        try result.get()
    }
}
