import Glibc
import Platform

/// The framing of the vTPM proxy: one `read` gives one whole command, one `write` is one whole response.
///
/// drivers/char/tpm/tpm_vtpm_proxy.c, `vtpm_proxy_fops_read` and `vtpm_proxy_fops_write`. A sequenced-packet socket has
/// the same framing and stands in for the device in tests.
public enum ProxyTransport {
    /// The driver's buffer, in bytes.
    ///
    /// A shorter read buffer gives EIO for a long command and leaves it queued for ever.
    public static let bufferSize = 4096

    /// The result of a read.
    public enum Received: Equatable, Sendable {
        /// A command with this many bytes.
        case command(Int)
        /// The kernel has given up the device; no command will come any more.
        case gone
    }

    /// The result of a write.
    public enum Sent: Equatable, Sendable {
        /// The kernel has accepted the response.
        case delivered
        /// The kernel was no longer waiting, and has dropped the response: it had timed out, or has sent the next
        /// command.
        case late
        /// The kernel has given up the device.
        case gone
    }

    /// Reads one command into a buffer of at least ``bufferSize`` bytes.
    ///
    /// Call it when poll(2) reports POLLIN: the driver's read blocks even with O_NONBLOCK.
    public static func receive(
        from server: borrowing Descriptor,
        into buffer: ScratchBuffer
    ) throws(Failure) -> Received {
        precondition(buffer.size >= bufferSize, "the driver wants room for its whole buffer")
        let number = server.number
        do {
            let count = try systemCall("read", "cannot read a command from the vTPM proxy") {
                buffer.write { read(number, $0.baseAddress, $0.count) }
            }
            return count == 0 ? .gone : .command(count)
        } catch let error where error.code == EPIPE || error.code == ECONNRESET {
            return .gone
        }
    }

    /// Writes one response that this program has made, and not the TPM.
    public static func send(_ response: [UInt8], to server: borrowing Descriptor) throws(Failure) -> Sent {
        let number = server.number
        return try send { response.withUnsafeBytes { write(number, $0.baseAddress, $0.count) } }
    }

    /// Writes one response, of 10 to ``bufferSize`` bytes, with one `write`.
    ///
    /// `writev` would not do: the driver has no `write_iter`, and would take the first part for the whole response.
    public static func send(
        _ response: UnsafeRawBufferPointer,
        to server: borrowing Descriptor
    ) throws(Failure) -> Sent {
        let number = server.number
        return try send { write(number, response.baseAddress, response.count) }
    }

    private static func send(_ call: () -> Int) throws(Failure) -> Sent {
        do {
            try systemCall("write", "cannot write an answer to the vTPM proxy", call)
            return .delivered
        } catch let error where error.code == EIO {
            return .late
        } catch let error where error.code == EPIPE || error.code == ECONNRESET {
            return .gone
        }
    }
}
