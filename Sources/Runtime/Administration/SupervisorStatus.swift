import Platform
import RuntimeControl

extension VTPMStatus {
    /// How long a supervisor may take to respond, in milliseconds.
    static let timeout = 2000

    /// Asks the supervisor whose lease is in this directory; returns nil if it is gone or does not respond within 2 s.
    public static func ask(in directory: borrowing Descriptor) -> VTPMStatus? { ask(in: directory, timeout: timeout) }

    /// Asks it with another timeout, in milliseconds.
    static func ask(in directory: borrowing Descriptor, timeout: Int) -> VTPMStatus? {
        do throws(Failure) {
            let deadline = Deadline(milliseconds: timeout)
            let channel = try ControlSocket.connect(in: directory, until: deadline)
            let buffer = Channel.makeBuffer()
            try channel.send(ControlRequest.status, until: deadline)
            guard try wait(for: channel.descriptor.number, until: deadline) != 0,
                let message = try channel.receive(into: buffer), case .status(let status)? = ControlReply(message)
            else { return nil }
            return status
        } catch {
            return nil
        }
    }
}
