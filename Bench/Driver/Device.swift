import CLinux
import Glibc
import Platform

/// The end of a TPM that commands are written to: of a socket pair whose other end stands in for the vTPM proxy's
/// descriptor, or `/dev/tpmrmN`.
final class Device {
    private let number: CInt
    private var isOpen = true
    private let buffer = ScratchBuffer(size: 4096)

    /// TPM_RC_RETRY, which libtpms answers once when it stores what it needs for dictionary attacks.
    private static let retry: UInt32 = 0x922
    /// TPM_RC_NEEDS_TEST and TPM_RC_TESTING.
    private static let untested: Set<UInt32> = [0x153, 0x90a]

    init(owning descriptor: consuming Descriptor) {
        number = descriptor.release()
    }

    deinit { hangUp() }

    /// Closes it, which ends swtpm.
    func hangUp() {
        if isOpen { close(number) }
        isOpen = false
    }

    /// Two ends of a new one.
    struct Ends: ~Copyable {
        /// To be measured on.
        let near: Descriptor
        /// For the TPM.
        let far: Descriptor
    }

    /// Makes two ends.
    static func pair() throws(Failure) -> Ends {
        var ends: [CInt] = [-1, -1]
        try systemCall("socketpair", "cannot make a device") {
            socketpair(AF_UNIX, CInt(SOCK_SEQPACKET.rawValue | SOCK_CLOEXEC.rawValue), 0, &ends)
        }
        return Ends(near: Descriptor(owning: ends[0]), far: Descriptor(owning: ends[1]))
    }

    /// Sends one command and waits for its answer, which must be a success; returns the nanoseconds in between.
    func time(_ command: [UInt8]) throws(Failure) -> UInt64 {
        let start = now()
        let code = try exchange(command)
        let end = now()
        guard code == 0 else { throw refused(command, code) }
        return end - start
    }

    /// The same for a command whose time is of no interest; returns its answer.
    @discardableResult
    func run(_ command: [UInt8]) throws(Failure) -> [UInt8] {
        var code = try exchange(command)
        if code == Self.retry { code = try exchange(command) }
        guard code == 0 else { throw refused(command, code) }
        return buffer.withBytes { (bytes) -> [UInt8] in
            let size = Int(bytes[4]) * 256 + Int(bytes[5])
            return Array(bytes[..<size])
        }
    }

    /// Whether a command succeeds.
    func succeeds(_ command: [UInt8]) throws(Failure) -> Bool { try exchange(command) == 0 }

    /// Waits until the TPM has tested itself as far as it does so unasked, and then has it test itself as a whole.
    ///
    /// What that leaves in memory is there on all sides then, and none tests while it is measured.
    func awaitSelfTest() throws(Failure) {
        let deadline = Deadline(milliseconds: 60_000)
        while true {
            let result = try run(Commands.getTestResult).suffix(4).reduce(0 as UInt32) { $0 << 8 | UInt32($1) }
            if result == 0 { break }
            guard Self.untested.contains(result), !deadline.hasPassed else {
                throw Failure("cannot measure", because: "the self-test's result is 0x\(String(result, radix: 16))")
            }
            usleep(5000)
        }
        try completeSelfTest()
    }

    /// Has the TPM test itself as a whole, so that it does not while something is measured.
    func completeSelfTest() throws(Failure) { try run(Commands.selfTest) }

    private func refused(_ command: [UInt8], _ code: UInt32) -> Failure {
        let name = String(command[6..<10].reduce(0 as UInt32) { $0 << 8 | UInt32($1) }, radix: 16)
        return Failure("cannot measure command 0x\(name)", because: "the TPM answers 0x\(String(code, radix: 16))")
    }

    private func exchange(_ command: [UInt8]) throws(Failure) -> UInt32 {
        let number = self.number
        let what = "cannot speak with the TPM"
        try systemCall("write", what) { write(number, command, command.count) }
        let count = try systemCall("read", what) { buffer.write { read(number, $0.baseAddress, $0.count) } }
        guard count >= 10 else { throw Failure(what, because: "it answered \(count) bytes") }
        return buffer.withBytes { $0[6..<10].reduce(0) { $0 << 8 | UInt32($1) } }
    }
}

/// Nanoseconds of the monotonic clock. clock_gettime(2)
func now() -> UInt64 {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
}
