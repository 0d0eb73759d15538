import Glibc
import Platform
import Testing

@testable import VTPMProxy

/// Waiting for a device that the kernel does not register.
///
/// A socket stands in for the proxy's descriptor; the sysfs is the host's, in which no TPM has this number. That the
/// numbers of a registered device are found is what every guest case stands on.
@Suite struct RegistrationTests {
    static let number: UInt32 = 65_535
    let other: CInt
    let device: CInt

    init() throws {
        var ends: [CInt] = [-1, -1]
        try #require(socketpair(AF_UNIX, CInt(SOCK_SEQPACKET.rawValue | SOCK_CLOEXEC.rawValue), 0, &ends) == 0)
        (device, other) = (ends[0], ends[1])
        try #require(access("/sys/class/tpm/tpm\(Self.number)", F_OK) != 0)
    }

    /// The error that it ends with, and how often what serves the device was looked at.
    func failure(
        milliseconds: Int,
        sysfs: String = "/sys",
        _ check: (Int) throws(Failure) -> Void = { _ in }
    ) throws -> (error: Failure, checks: Int) {
        let proxy = ProxyDevice(server: Descriptor(owning: device), number: Self.number)
        var checks = 0
        do throws(Failure) {
            _ = try Registration.wait(for: proxy, timeout: milliseconds, sysfs: sysfs) {
                () throws(Failure) in
                checks += 1
                try check(checks)
            }
        } catch {
            return (error, checks)
        }
        throw Failure("cannot register", because: "it was registered")
    }

    @Test func aDeviceThatTheKernelGivesUpIsRefused() throws {
        // The kernel hangs up while it is waited for.
        let (error, checks) = try failure(milliseconds: 60_000) { checks in
            if checks == 5 { close(other) }
        }
        #expect(error.description.contains("cannot register the vTPM tpm65535 with the kernel: the kernel refused it"))
        #expect(error.hint?.contains("dmesg") == true)
        #expect(checks == 5)
    }

    @Test func theDeadlineEndsTheWait() throws {
        defer { close(other) }
        let (error, checks) = try failure(milliseconds: 50)
        #expect(error.why == "it did not do so in time")
        #expect(checks > 0)
    }

    /// A command that waits for its answer is the worker's, and no reason to go on or to end.
    @Test func aCommandIsNoAnswer() throws {
        defer { close(other) }
        try #require(write(other, TPMCommand.startupClear, 12) == 12)
        #expect(try failure(milliseconds: 50).error.why == "it did not do so in time")
    }

    @Test func aFailedServerEndsTheWait() throws {
        defer { close(other) }
        let (error, checks) = try failure(milliseconds: 60_000) { checks throws(Failure) in
            if checks == 3 { throw Failure("cannot serve", because: "it is gone") }
        }
        #expect(error == Failure("cannot serve", because: "it is gone"))
        #expect(checks == 3)
    }

    @Test func whatIsNoSysfsIsRefused() throws {
        defer { close(other) }
        let (error, checks) = try failure(milliseconds: 60_000, sysfs: "/proc")
        #expect(error.why == "/proc is not sysfs")
        #expect(checks == 0)
    }

    /// As in a command of `vtpmctl run`, which starts another one or an engine.
    @Test func aHiddenFolderOfSysfsIsRefusedAtOnce() throws {
        // A stand-in for what is mounted there: /dev/shm is on no sysfs.
        let root = try Descriptor.open("/dev", .directory)
        let failure = try #require(throws: Failure.self) {
            try Registration.requireVisible("shm", below: root, "/dev", "cannot register it")
        }
        #expect(
            failure.description
                == "cannot register it: /dev/shm is hidden, as it is from a command of vtpmctl run "
                + "(make the TPM outside of it, in the host's own mounts)"
        )
        // Nothing is hidden in the host's own sysfs; what is not there yet is no reason.
        let sysfs = try Descriptor.open("/sys", .directory)
        for path in ["class", "class/no-such"] {
            try Registration.requireVisible(path, below: sysfs, "/sys", "cannot register it")
        }
    }

    /// The driver's own major number is no other's, and no block device's.
    @Test(
        arguments: [
            ("Character devices:\n  1 mem\n254 tpm\n255 tpmx\n\nBlock devices:\n  7 loop\n", 254),
            ("Character devices:\n  1 mem\n\nBlock devices:\n254 tpm\n", nil),
            ("Character devices:\nx tpm\n", nil),
            ("", nil),
        ] as [(String, UInt32?)]
    ) func theDriversNumberIsFound(text: String, major: UInt32?) {
        #expect(Registration.majorNumber(inDevices: Array(text.utf8)) == major)
    }
}
