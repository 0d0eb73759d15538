import Glibc
import Platform
import RuntimeControl
import Systemd

/// The program `vtpm-systemd`, which asks systemd what its starter wants to know. ``SystemdClient``
public struct SystemdService: ~Copyable {
    private let channel: Channel
    private let buffer = Channel.makeBuffer()

    /// The errors of a connection that systemd has closed, and of a socket that nobody listens on.
    private static let interruptions = [ECONNRESET, ENOTCONN, EPIPE, ECONNREFUSED, ENOENT]
    /// The timeout for systemd to be back, in milliseconds.
    private static let reconnectionTimeout = 3000

    /// Takes the channel to the process that started the program.
    public init(channel: Channel) {
        self.channel = channel
    }

    /// Connects to systemd, and answers requests until the other end closes the channel.
    ///
    /// If there is no connection, each request is answered with the error. systemd closes all connections when it
    /// executes itself again (`systemctl daemon-reexec`), so a request is repeated once over a new one.
    public func run() throws(Failure) {
        var manager = connect()
        while let received = try channel.receive(into: buffer) {
            guard let request = SystemdRequest(received) else {
                throw Failure("cannot answer a request", because: "it is none")
            }
            var response = respond(manager, request, isRepeated: false)
            if isInterrupted(response) {
                manager = reconnect()
                response = respond(manager, request, isRepeated: true)
            }
            try send(response)
        }
    }

    private func connect() -> Result<UnitManager, Failure> {
        do throws(Failure) {
            return .success(UnitManager(try ManagerConnection()))
        } catch {
            return .failure(error)
        }
    }

    private func reconnect() -> Result<UnitManager, Failure> {
        let deadline = Deadline(milliseconds: Self.reconnectionTimeout)
        var backoff = Backoff()
        while true {
            let manager = connect()
            guard case .failure(let failure) = manager, isInterruption(failure), !deadline.hasPassed else {
                return manager
            }
            sleep(milliseconds: backoff.next())
        }
    }

    private func respond(
        _ manager: Result<UnitManager, Failure>,
        _ request: SystemdRequest,
        isRepeated: Bool
    ) -> SystemdResponse {
        switch manager {
        case .success(let manager): manager.respond(to: request, isRepeated: isRepeated)
        case .failure(let failure): .failure(failure)
        }
    }

    private func isInterrupted(_ response: SystemdResponse) -> Bool {
        guard case .failure(let failure) = response else { return false }
        return isInterruption(failure)
    }

    private func isInterruption(_ failure: Failure) -> Bool {
        failure.code.map { Self.interruptions.contains($0) } ?? false
    }

    private func send(_ response: SystemdResponse) throws(Failure) {
        do {
            try channel.send(response)
        } catch let error where error.code == EMSGSIZE {
            try channel.send(SystemdResponse.failure(error))
        }
    }
}
