import CLinux
import Glibc
import Platform
import RuntimeControl

/// A BPF program with which the kernel decides on each system call of a process: an array of `struct sock_filter`. seccomp(2)
///
/// It is compiled where there is time (``SystemCallFilter``): a worker gets its own from its supervisor, which has nothing
/// to do while the worker's libraries are loaded.
public struct SystemCallProgram: Equatable, Sendable {
    /// The largest program, in bytes.
    public static let maximumSize = WorkerRequest.filterLimit

    /// The size of an instruction, in bytes.
    private static let instructionSize = 8

    /// The instructions.
    public let bytes: [UInt8]

    /// Takes over a program; returns nil if it has no instruction, no whole number of them, or too many.
    public init?(_ bytes: [UInt8]) {
        guard !bytes.isEmpty, bytes.count % Self.instructionSize == 0, bytes.count <= Self.maximumSize else {
            return nil
        }
        self.bytes = bytes
    }

    /// Installs the program permanently in this process, which has one thread; needs PR_SET_NO_NEW_PRIVS.
    ///
    /// - Throws: ``Failure`` with EINVAL if the kernel refuses the program.
    public func enforce() throws(Failure) {
        try systemCall("seccomp", "cannot restrict system calls") {
            bytes.withUnsafeBytes { clinux_seccomp_filter($0.baseAddress, UInt16(bytes.count / Self.instructionSize)) }
        }
    }
}
