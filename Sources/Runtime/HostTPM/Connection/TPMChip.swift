import CLinux
import Glibc
import Platform

/// A TPM, as sysfs describes it. linux: drivers/char/tpm/tpm-chip.c, tpm-sysfs.c
package struct TPMChip {
    /// N in `/dev/tpmN` and `/dev/tpmrmN`.
    package let number: Int
    /// Whether the TPM is a hardware device.
    ///
    /// A TPM of the vTPM proxy driver is not. A program sends its responses: our worker for a tenant, swtpm, or systemd
    /// on a host without a TPM. The properties that a TPM reports, such as its manufacturer, do not help: the hardware
    /// TPM of a virtual machine is swtpm as well, and a program can report anything.
    package let isHardware: Bool
    /// Whether it is a TPM 1.2, whose commands are different.
    let isVersion1: Bool
    /// The device number of `/dev/tpmN`.
    let device: DeviceNumber?
    /// The device number of `/dev/tpmrmN`, the TPM with the resource manager; nil for a TPM 1.2.
    let resourceManager: DeviceNumber?

    /// The path of the device with the resource manager in devtmpfs.
    package var path: String { "/dev/tpmrm\(number)" }

    private init(_ number: Int, sys: String) throws(Failure) {
        let base = "\(sys)/class/tpm/tpm\(number)"
        self.number = number
        // The kernel puts a device without a parent below `virtual`. linux: drivers/base/core.c, get_device_parent
        let isVirtual = try Self.exists("\(sys)/devices/virtual/tpm/tpm\(number)")
        let hasDevice = try Self.exists("\(base)/device")
        self.isHardware = hasDevice && !isVirtual
        self.isVersion1 = try Self.line("\(base)/tpm_version_major") == "1"
        self.device = try Self.line("\(base)/dev").flatMap { DeviceNumber($0) }
        self.resourceManager = try Self.line("\(sys)/class/tpmrm/tpmrm\(number)/dev").flatMap { DeviceNumber($0) }
    }

    /// Returns all TPMs of the kernel, ordered by number.
    package static func all(sys: String) throws(Failure) -> [TPMChip] {
        try checkFileSystem(sys)
        let path = "\(sys)/class/tpm"
        let names: [String]
        do {
            names = try entries(of: .open(path, .directory), path)
        } catch let error where error.code == ENOENT {
            return []
        }
        var chips: [TPMChip] = []
        for name in names where name.hasPrefix("tpm") {
            guard let number = Int(name.dropFirst(3)), number >= 0, name == "tpm\(number)" else { continue }
            chips.append(try TPMChip(number, sys: sys))
        }
        return chips.sorted { $0.number < $1.number }
    }

    /// Throws if `/sys` is not sysfs: a fake one could present a vTPM as hardware.
    private static func checkFileSystem(_ path: String) throws(Failure) {
        // Only tests use another path.
        guard path == "/sys" else { return }
        let root = try Descriptor.open(path, OpenOptions(openPathOnly | O_DIRECTORY))
        guard try root.fileSystemMagic(path) == Int(SYSFS_MAGIC) else {
            throw Failure("cannot use the host's TPM", because: "\(path) is not sysfs")
        }
    }

    /// Returns whether a path exists; throws if access(2) fails for another reason than ENOENT.
    private static func exists(_ path: String) throws(Failure) -> Bool {
        do {
            try systemCall("access", "cannot examine \(path)") { access(path, F_OK) }
            return true
        } catch let error where error.code == ENOENT {
            return false
        }
    }

    /// Reads the first line of a file; returns nil if the file or its chip does not exist any more.
    private static func line(_ path: String) throws(Failure) -> String? {
        do {
            let text = String(decoding: try Descriptor.open(path, .read).readAll(limit: 4096, path), as: UTF8.self)
            return text.split(separator: "\n").first.map(String.init) ?? ""
        } catch let error where error.code == ENOENT || error.code == ENODEV {
            return nil
        }
    }
}

extension HostTPM {
    private static let what = "cannot use the host's TPM"

    /// Finds the device of the host's hardware TPM, with the kernel's resource manager.
    ///
    /// Without a configured path there must be exactly one hardware TPM. A configured path must lead to a hardware TPM:
    /// the device of a vTPM looks the same to its user, so the error says that it is one.
    ///
    /// - Parameters:
    ///   - configured: The path in the configuration, or nil if it has none.
    ///   - sys: The mount point of sysfs.
    /// - Returns: A path like `/dev/tpmrm0`.
    /// - Throws: ``Failure`` that names the TPMs of the host and the reason why they cannot be used.
    public static func findDevice(configured: String?, sys: String = "/sys") throws(Failure) -> String {
        let chips = try TPMChip.all(sys: sys)
        if let configured {
            var status = stat()
            try systemCall("stat", "\(what) \(configured)") { stat(configured, &status) }
            try check(status, configured, chips)
            return configured
        }
        let hardware = chips.filter { $0.isHardware }
        guard let chip = hardware.first else {
            throw Failure(
                what,
                because: "this host has no TPM" + (chips.isEmpty ? "" : " but software: \(software(chips))"),
                hint: "switch it on in the firmware, or keep the master key elsewhere"
            )
        }
        guard hardware.count == 1 else {
            throw Failure(
                what,
                because: "this host has \(hardware.count) TPMs",
                hint: "configure one of " + hardware.map { $0.path }.joined(separator: ", ")
            )
        }
        try chip.checkVersion(chip.path)
        return chip.path
    }

    /// Returns a phrase for errors that names the vTPMs among the chips, at most three of them.
    private static func software(_ chips: [TPMChip]) -> String {
        // Each container of the host can have a vTPM, so the list can be long.
        let names = chips.prefix(3).map { "tpm\($0.number)" }.joined(separator: ", ")
        return names + (chips.count > 3 ? " and others" : "") + (chips.count == 1 ? " is a vTPM" : " are vTPMs")
    }

    /// Opens the host's hardware TPM, as ``findDevice(configured:sys:)`` finds it.
    ///
    /// With a timeout, in milliseconds, the kernel executes each command for itself, and one that takes longer is given up.
    public static func open(configured: String?, timeout: Int? = nil) throws(Failure) -> HostTPM {
        let path = try findDevice(configured: configured)
        let flags = timeout == nil ? O_RDWR : O_RDWR | O_NONBLOCK
        let device = try Descriptor.open(path, OpenOptions(flags), as: "the host's TPM \(path)")
        // The path can lead to another device by now: check the descriptor that was opened.
        try check(device.status(path), path, TPMChip.all(sys: "/sys"))
        let transport = DeviceTransport(device, path: path, timeout: timeout ?? DeviceTransport.responseTimeout)
        return HostTPM(transport: transport)
    }

    private static func check(_ status: stat, _ path: String, _ chips: [TPMChip]) throws(Failure) {
        let what = "\(what) \(path)"
        guard status.st_mode & S_IFMT == S_IFCHR else { throw Failure(what, because: "it is no character device") }
        let number = DeviceNumber(status.st_rdev)
        guard let chip = chips.first(where: { $0.resourceManager == number || $0.device == number }) else {
            throw Failure(what, because: "it is no TPM")
        }
        guard chip.isHardware else {
            throw Failure(
                what,
                because:
                    "it is tpm\(chip.number), a vTPM, and no hardware: a program answers there, for a container or "
                    + "in place of a TPM that this host lacks",
                hint: chips.first { $0.isHardware }.map { "configure \($0.path)" }
                    ?? "keep the master key elsewhere"
            )
        }
        try chip.checkVersion(path)
        guard chip.resourceManager == number else {
            throw Failure(what, because: "it has no resource manager", hint: "configure \(chip.path)")
        }
    }
}

extension TPMChip {
    fileprivate func checkVersion(_ path: String) throws(Failure) {
        guard !isVersion1, resourceManager != nil else {
            throw Failure(
                "cannot use the host's TPM \(path)",
                because: "tpm\(number) is a TPM 1.2",
                hint: "keep the master key elsewhere"
            )
        }
    }
}
