import Glibc
import Platform

/// Carries commands to a TPM 2.0 and brings its responses.
public protocol TPMTransport: AnyObject {
    /// Sends one command and returns its response, as the TPM wrote it.
    ///
    /// A secret is in neither of them but encrypted.
    func transmit(_ command: [UInt8]) throws(Failure) -> [UInt8]
}

/// A TPM behind a device of the kernel: one write is a command, one read is its response.
///
/// linux: drivers/char/tpm/tpm-dev-common.c
final class DeviceTransport: TPMTransport {
    private let device: Descriptor
    private let path: String

    /// The kernel's own buffer, in bytes. linux: TPM_BUFSIZE
    private static let responseLimit = 4096
    /// Milliseconds; the kernel throws a response away that nobody fetches in this time.
    private static let responseTimeout = 120_000

    init(_ device: consuming Descriptor, path: String) {
        self.device = device
        self.path = path
    }

    func transmit(_ command: [UInt8]) throws(Failure) -> [UInt8] {
        let what = "cannot use the host's TPM \(path)"
        let number = device.number
        // A command is one write: the kernel takes the rest of a shorter one for another.
        let written = try systemCall("write", what) {
            command.withUnsafeBytes { write(number, $0.baseAddress, $0.count) }
        }
        guard written == command.count else { throw Failure(what, because: "it took only a part of a command") }
        guard try wait(for: number, until: Deadline(milliseconds: Self.responseTimeout)) != 0 else {
            throw Failure(what, because: "it did not answer in \(Self.responseTimeout / 1000) s")
        }
        var response = [UInt8](repeating: 0, count: Self.responseLimit)
        let count = try systemCall("read", what) {
            response.withUnsafeMutableBytes { read(number, $0.baseAddress, $0.count) }
        }
        guard count > 0 else { throw Failure(what, because: "it gave no answer") }
        return Array(response[..<count])
    }
}
