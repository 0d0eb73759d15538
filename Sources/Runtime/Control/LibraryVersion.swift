/// The version of libtpms that a worker runs.
///
/// It can change with each start: the host's library is upgraded, or a state moves to another host.
public struct LibraryVersion: Comparable, Sendable, CustomStringConvertible {
    /// As TPMLIB_GetVersion(3) gives it: major, minor and micro, 8 bits each.
    public let number: UInt32

    /// Creates a version from its number.
    public init(number: UInt32) { self.number = number }

    /// Creates a version from its parts.
    public init(_ major: UInt8, _ minor: UInt8, _ micro: UInt8) {
        number = UInt32(major) << 16 | UInt32(minor) << 8 | UInt32(micro)
    }

    public static func < (left: LibraryVersion, right: LibraryVersion) -> Bool { left.number < right.number }

    public var description: String { "\(number >> 16).\(number >> 8 & 0xff).\(number & 0xff)" }
}
