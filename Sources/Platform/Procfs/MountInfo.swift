import CLinux
import Glibc

/// A mount that a process sees: one line of `/proc/PID/mountinfo`. proc_pid_mountinfo(5)
public struct MountInfo: Sendable {
    /// The file system's device number, as stat(2) gives it.
    public let device: dev_t
    /// All fields as they are written; ``separator`` is the index of the dash between mount and file system.
    private let fields: [ArraySlice<UInt8>]
    private let separator: Int

    /// Parses the whole file; `path` is for the error about a malformed line.
    public static func parse(_ text: [UInt8], path: String) throws(Failure) -> [MountInfo] {
        var mounts: [MountInfo] = []
        for line in text.split(separator: UInt8(ascii: "\n")) {
            guard let mount = MountInfo(line) else { throw .malformed(line, in: path) }
            mounts.append(mount)
        }
        return mounts
    }

    private init?(_ line: ArraySlice<UInt8>) {
        // A field may be empty: mount(2) takes any source.
        let fields = line.split(separator: UInt8(ascii: " "), omittingEmptySubsequences: false)
        // Six fields, any number of optional ones, a dash, three more.
        guard fields.count >= 10, let separator = fields[6...].firstIndex(where: { $0.elementsEqual("-".utf8) }),
            separator + 3 < fields.count
        else { return nil }
        let numbers = fields[2].split(separator: UInt8(ascii: ":"), omittingEmptySubsequences: false)
        guard numbers.count == 2, let major = UInt32(String(decoding: numbers[0], as: UTF8.self)),
            let minor = UInt32(String(decoding: numbers[1], as: UTF8.self))
        else { return nil }
        self.device = clinux_makedev(major, minor)
        self.fields = fields
        self.separator = separator
    }

    /// The mount's ID, as statx(2) gives it with STATX_MNT_ID; nil if the field is malformed.
    public var id: UInt64? { UInt64(String(decoding: fields[0], as: UTF8.self)) }

    /// The ID of the mount that it is mounted on; nil if the field is malformed.
    public var parent: UInt64? { UInt64(String(decoding: fields[1], as: UTF8.self)) }

    /// The directory of the file system that is mounted; nil if the field is malformed.
    public var root: [UInt8]? { Self.unescape(fields[3]) }

    /// The mount point, as the process sees it; nil if the field is malformed or not UTF-8.
    public var mountPoint: String? { mountPointBytes.flatMap { String(validating: $0, as: UTF8.self) } }

    /// The bytes of the mount point; nil if the field is malformed.
    public var mountPointBytes: [UInt8]? { Self.unescape(fields[4]) }

    /// The type of the file system: `tmpfs`, or `fuse.sshfs` with a subtype.
    public var type: String { String(decoding: fields[separator + 1], as: UTF8.self) }

    /// The source that mount(2) was given, escaped as in the file.
    public var source: String { String(decoding: fields[separator + 2], as: UTF8.self) }

    /// The options of the file system; those of a cgroup hierarchy of version 1 name its controllers.
    public var options: [String] {
        fields[separator + 3].split(separator: UInt8(ascii: ",")).map { String(decoding: $0, as: UTF8.self) }
    }

    /// The kernel writes blank, tab, line feed, backslash and number sign as a backslash and three octal digits.
    private static func unescape(_ field: ArraySlice<UInt8>) -> [UInt8]? {
        var plain: [UInt8] = []
        var rest = field
        while let byte = rest.popFirst() {
            guard byte != 0 else { return nil }
            guard byte == UInt8(ascii: "\\") else {
                plain.append(byte)
                continue
            }
            let digits = rest.prefix(3)
            guard digits.count == 3, digits.allSatisfy((UInt8(ascii: "0")...UInt8(ascii: "7")).contains),
                let value = UInt8(String(decoding: digits, as: UTF8.self), radix: 8), value != 0
            else { return nil }
            plain.append(value)
            rest = rest.dropFirst(3)
        }
        return plain
    }
}
