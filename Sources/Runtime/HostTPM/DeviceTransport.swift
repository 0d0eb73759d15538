import Glibc
import Platform

/// Carries commands to a TPM 2.0 and brings its answers.
public protocol TPMTransport {
    /// Sends one command and returns its answer, as the TPM wrote it.
    ///
    /// A secret is in neither of them but encrypted.
    func transmit(_ command: [UInt8]) throws(Failure) -> [UInt8]
}

/// A TPM behind a device of the kernel: one write is a command, one read is its answer.
///
/// linux: drivers/char/tpm/tpm-dev-common.c
final class DeviceTransport: TPMTransport {
    private let device: Descriptor
    private let path: String

    /// The kernel's own buffer, in bytes. linux: TPM_BUFSIZE
    private static let answerLimit = 4096
    /// Milliseconds; the kernel throws an answer away that nobody fetches in this time.
    private static let answerTime = 120_000

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
        guard try wait(for: number, until: Deadline(milliseconds: Self.answerTime)) != 0 else {
            throw Failure(what, because: "it did not answer in \(Self.answerTime / 1000) s")
        }
        var answer = [UInt8](repeating: 0, count: Self.answerLimit)
        let count = try systemCall("read", what) {
            answer.withUnsafeMutableBytes { read(number, $0.baseAddress, $0.count) }
        }
        guard count > 0 else { throw Failure(what, because: "it gave no answer") }
        return Array(answer[..<count])
    }
}
