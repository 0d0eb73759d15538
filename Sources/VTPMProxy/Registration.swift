import CLinux
import Glibc
import Platform

/// A vTPM's two devices, as the kernel has registered them.
public struct RegisteredTPM: Equatable, Sendable {
    /// N of `/dev/tpmN`.
    public let number: UInt32
    /// `/dev/tpmN`, one user at a time: 10:224 for N = 0, else the TPM driver's own major and N.
    public let tpm: DeviceNumber
    /// `/dev/tpmrmN`, behind the kernel's resource manager: always the TPM driver's own major and 65536 + N.
    public let tpmrm: DeviceNumber

    /// Creates it from the numbers of both devices.
    public init(number: UInt32, tpm: DeviceNumber, tpmrm: DeviceNumber) {
        self.number = number
        self.tpm = tpm
        self.tpmrm = tpmrm
    }
}

/// The registration of a vTPM by the kernel.
public enum Registration {
    /// Waits until the kernel has registered both devices of a vTPM, and reads their numbers from sysfs.
    ///
    /// The ioctl returns before the kernel has sent the TPM its first command, and its result does not name the
    /// resource manager's device. `/dev/tpmN` alone is not enough: if the kernel believes that a TPM is upgrading its
    /// firmware, it makes no `/dev/tpmrmN` (tpm_chip_register).
    ///
    /// The kernel registers one TPM after the other. If many are registered at once, the wait goes on for as long as
    /// another TPM appears within `timeout` milliseconds, but no longer than twelve times that. POLLHUP on the server's
    /// descriptor means that the kernel has refused the TPM. Between two looks `checkCancellation` is called, which
    /// throws if the process that serves the device has failed.
    public static func wait(
        for device: borrowing ProxyDevice,
        timeout: Int,
        sysfs: String = "/sys",
        checkCancellation: CancellationCheck
    ) throws(Failure) -> RegisteredTPM {
        let number = device.number
        let what = "cannot register the vTPM tpm\(number) with the kernel"
        let root = try Descriptor.open(sysfs, .directory)
        guard try root.fileSystemMagic(sysfs) == Int(SYSFS_MAGIC) else {
            throw Failure(what, because: "\(sysfs) is not sysfs")
        }
        try requireVisible("class/tpm", below: root, sysfs, what)
        var others = try names(below: root)
        let lastDeadline = Deadline(milliseconds: timeout * 12)
        // sysfs cannot be polled or watched, and /dev need not be the kernel's own. The pauses grow: on a busy host the worker would have to wait for the looks
        // themselves.
        var backoff = Backoff(first: 1, limit: 50, growth: 1.125)
        while true {
            var registered: RegisteredTPM?
            let isRegistered = try Deadline(milliseconds: timeout).wait(
                backoff: backoff,
                checkCancellation: { () throws(Failure) in
                    try checkCancellation()
                    // POLLIN is for the worker; POLLHUP comes unasked.
                    let events = try Platform.wait(for: device.server.number, 0, until: Deadline(milliseconds: 0))
                    guard events & CInt(POLLHUP | POLLERR) == 0 else {
                        throw Failure(what, because: "the kernel refused it", hint: "dmesg | grep -i tpm")
                    }
                },
                until: { () throws(Failure) in
                    registered = try find(number, below: root)
                    return registered != nil
                }
            )
            if isRegistered, let registered { return registered }
            let now = try names(below: root)
            guard !now.isSubset(of: others), !lastDeadline.hasPassed else {
                throw Failure(what, because: "it did not do so in time", hint: "dmesg | grep -i tpm")
            }
            others = now
            backoff = Backoff(first: 50, limit: 50)
        }
    }

    /// Throws if something else is mounted on a folder of sysfs, in which the vTPM would never appear.
    static func requireVisible(
        _ path: String,
        below root: borrowing Descriptor,
        _ sysfs: String,
        _ what: String
    ) throws(Failure) {
        let name = "\(sysfs)/\(path)"
        do {
            let folder = try Descriptor.open(path, .directory, at: root.number, as: name)
            guard try folder.fileSystemMagic(name) != Int(SYSFS_MAGIC) else { return }
        } catch let error where error.code == ENOENT {
            // The kernel makes it with its first TPM.
            return
        }
        throw Failure(
            what,
            because: "\(name) is hidden, as it is from a command of vtpmctl run",
            hint: "make the TPM outside of it, in the host's own mounts"
        )
    }

    /// Finds both devices of a vTPM; returns nil if they are not registered yet.
    private static func find(_ number: UInt32, below root: borrowing Descriptor) throws(Failure) -> RegisteredTPM? {
        // The resource manager's device is added last (tpm_add_char_device).
        guard let tpmrm = try deviceNumber("class/tpmrm/tpmrm\(number)/dev", below: root),
            let tpm = try deviceNumber("class/tpm/tpm\(number)/dev", below: root)
        else { return nil }
        return RegisteredTPM(number: number, tpm: tpm, tpmrm: tpmrm)
    }

    /// Returns the numbers that the kernel would give the next vTPM, or nil if the kernel has no TPM driver.
    ///
    /// The kernel takes the lowest free number. Another TPM may get it first.
    public static func next(sysfs: String = "/sys") throws(Failure) -> RegisteredTPM? {
        try next(devices: Procfs().read("devices"), sysfs: sysfs)
    }

    /// Returns the numbers of the next vTPM, from the text of `/proc/devices`.
    package static func next(devices: [UInt8], sysfs: String) throws(Failure) -> RegisteredTPM? {
        guard let major = majorNumber(inDevices: devices) else { return nil }
        let taken = try names(below: .open(sysfs, .directory))
        let number = (0...UInt32(taken.count)).first { !taken.contains("tpm\($0)") } ?? 0
        return RegisteredTPM(
            number: number,
            tpm: number == 0 ? firstDevice : DeviceNumber(major: major, minor: number),
            tpmrm: DeviceNumber(major: major, minor: firstManagedMinor + number)
        )
    }

    /// Returns the TPM driver's own major number from the text of `/proc/devices`, where its name is `tpm`. proc(5)
    static func majorNumber(inDevices text: [UInt8]) -> UInt32? {
        for line in text.split(separator: UInt8(ascii: "\n")) {
            // Block devices come after the character devices.
            if line.elementsEqual("Block devices:".utf8) { return nil }
            let fields = line.split(separator: UInt8(ascii: " "))
            guard fields.count == 2, fields[1].elementsEqual("tpm".utf8) else { continue }
            return UInt32(String(decoding: fields[0], as: UTF8.self))
        }
        return nil
    }

    /// The miscellaneous device that `/dev/tpm0` is. include/linux/miscdevice.h, TPM_MINOR
    private static let firstDevice = DeviceNumber(major: 10, minor: 224)
    /// The minor number of `/dev/tpmrm0`. include/linux/tpm.h, TPM_NUM_DEVICES
    private static let firstManagedMinor: UInt32 = 65536

    /// Returns the names of all TPMs.
    private static func names(below root: borrowing Descriptor) throws(Failure) -> Set<String> {
        do {
            let path = "class/tpm"
            return Set(try entries(of: try .open(path, .directory, at: root.number), path))
        } catch let error where error.code == ENOENT {
            return []
        }
    }

    private static func deviceNumber(_ path: String, below root: borrowing Descriptor) throws(Failure) -> DeviceNumber?
    {
        let file: Descriptor
        do {
            file = try .open(path, .read, at: root.number)
        } catch let error where error.code == ENOENT || error.code == ENODEV {
            return nil
        }
        let text = String(decoding: try file.readAll(limit: 4096, path), as: UTF8.self)
        guard let number = DeviceNumber(text.prefix { $0 != "\n" }) else {
            throw Failure("cannot read \(path)", because: "\"\(text)\" is not a device number")
        }
        return number
    }
}
