import Glibc
import Platform

/// A way to send commands to a TPM 2.0 and to receive its responses.
public protocol TPMTransport: AnyObject {
    /// Sends one command and returns its response, unparsed.
    ///
    /// Secrets in a command or a response are always encrypted.
    func transmit(_ command: [UInt8]) throws(Failure) -> [UInt8]
}

/// A TPM behind a device of the kernel: one write sends a command, one read returns its response.
///
/// linux: drivers/char/tpm/tpm-dev-common.c
final class DeviceTransport: TPMTransport {
    private let device: Descriptor
    /// What cannot be done without it, for errors.
    private let what: String
    /// How long to wait for a response, in milliseconds.
    private let timeout: Int

    /// The size of the kernel's buffer, in bytes. linux: TPM_BUFSIZE
    private static let responseLimit = 4096
    /// How long the kernel keeps an unread response, in milliseconds.
    static let responseTimeout = 120_000

    init(_ device: consuming Descriptor, path: String, timeout: Int = responseTimeout, what: String? = nil) {
        self.timeout = timeout
        self.device = device
        self.what = what ?? "cannot use the host's TPM \(path)"
    }

    func transmit(_ command: [UInt8]) throws(Failure) -> [UInt8] {
        let what = self.what
        let number = device.number
        // The kernel takes each write for a whole command: the rest must not be sent with a second one.
        // It executes the command in the caller's context, and takes a signal for a TPM that does not answer
        // (drivers/char/tpm/tpm_tis_core.c, wait_for_tpm_stat).
        let written = try TimerSignal.hold { () throws(Failure) in
            try systemCall("write", what) { command.withUnsafeBytes { write(number, $0.baseAddress, $0.count) } }
        }
        guard written == command.count else { throw Failure(what, because: "it took only a part of a command") }
        guard try wait(for: number, until: Deadline(milliseconds: timeout)) != 0 else {
            throw Failure(what, because: "it did not answer in \(timeout / 1000) s")
        }
        var response = [UInt8](repeating: 0, count: Self.responseLimit)
        let count = try systemCall("read", what) {
            response.withUnsafeMutableBytes { read(number, $0.baseAddress, $0.count) }
        }
        guard count > 0 else { throw Failure(what, because: "it gave no answer") }
        return Array(response[..<count])
    }
}
