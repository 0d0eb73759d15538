import CLinux
import Glibc

/// The number of a character device, `major:minor` as sysfs and the device cgroup write it. makedev(3)
public struct DeviceNumber: Hashable, Sendable, CustomStringConvertible {
    /// The driver's number, 12 bits in Linux.
    public let major: UInt32
    /// The device's number within the driver, 20 bits in Linux; those of `/dev/tpmrmN` start at 65536.
    public let minor: UInt32

    /// Creates a device number from its two parts.
    public init(major: UInt32, minor: UInt32) {
        self.major = major
        self.minor = minor
    }

    /// Creates a device number from the form that stat(2) has.
    public init(_ raw: dev_t) {
        self.init(major: clinux_major(raw), minor: clinux_minor(raw))
    }

    /// Parses `major:minor`, as in the `dev` files of sysfs; returns nil if the text is anything else.
    public init?(_ text: some StringProtocol) {
        let parts = text.split(separator: ":", omittingEmptySubsequences: false)
        guard parts.count == 2, let major = UInt32(parts[0]), let minor = UInt32(parts[1]),
            major < 1 << 12, minor < 1 << 20
        else { return nil }
        self.init(major: major, minor: minor)
    }

    /// The device number in the form that mknod(2) takes.
    public var raw: dev_t { clinux_makedev(major, minor) }

    public var description: String { "\(major):\(minor)" }
}
