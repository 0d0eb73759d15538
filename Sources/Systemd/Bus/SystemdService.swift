import Glibc
import Platform
import RuntimeControl
import Systemd

/// The program `vtpm-systemd`, which asks systemd what its starter wants to know. ``SystemdClient``
public struct SystemdService: ~Copyable {
    private let channel: Channel
    private let buffer = Channel.makeBuffer()

    /// Takes the channel to the process that started the program.
    public init(channel: Channel) {
        self.channel = channel
    }

    /// Connects to systemd, and answers requests until the other end closes the channel.
    ///
    /// If there is no connection, each request is answered with the error.
    public func run() throws(Failure) {
        let manager: Result<UnitManager, Failure>
        do throws(Failure) {
            manager = .success(UnitManager(try ManagerConnection()))
        } catch {
            manager = .failure(error)
        }
        while let received = try channel.receive(into: buffer) {
            guard let request = SystemdRequest(received) else {
                throw Failure("cannot answer a request", because: "it is none")
            }
            try send(manager, request)
        }
    }

    private func send(_ manager: Result<UnitManager, Failure>, _ request: SystemdRequest) throws(Failure) {
        let response: SystemdResponse =
            switch manager {
            case .success(let manager): manager.respond(to: request)
            case .failure(let failure): .failure(failure)
            }
        do {
            try channel.send(response)
        } catch let error where error.code == EMSGSIZE {
            try channel.send(SystemdResponse.failure(error))
        }
    }
}
