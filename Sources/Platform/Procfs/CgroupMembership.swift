/// The cgroup of a process in one hierarchy: one line of `/proc/PID/cgroup`. cgroups(7)
public struct CgroupMembership: Equatable, Sendable {
    /// The controllers of a hierarchy of version 1; none for version 2.
    public let controllers: [String]
    /// Whether the hierarchy is that of version 2.
    public let isUnified: Bool
    /// The cgroup's path from the root of the reader's cgroup namespace; it begins with `/..` if it is outside of that.
    public let path: [UInt8]

    /// Parses the whole file; `path` is for the error about a malformed line.
    public static func parse(_ text: [UInt8], path: String) throws(Failure) -> [CgroupMembership] {
        var memberships: [CgroupMembership] = []
        for line in text.split(separator: UInt8(ascii: "\n")) {
            guard let membership = CgroupMembership(line) else { throw .malformed(line, in: path) }
            memberships.append(membership)
        }
        return memberships
    }

    private init?(_ line: ArraySlice<UInt8>) {
        // The path may itself hold colons.
        let fields = line.split(separator: UInt8(ascii: ":"), maxSplits: 2, omittingEmptySubsequences: false)
        guard fields.count == 3, let hierarchy = UInt32(String(decoding: fields[0], as: UTF8.self)),
            fields[2].first == UInt8(ascii: "/"), String(validating: fields[2], as: UTF8.self) != nil
        else { return nil }
        controllers = fields[1].split(separator: UInt8(ascii: ",")).map { String(decoding: $0, as: UTF8.self) }
        isUnified = hierarchy == 0 && fields[1].isEmpty
        path = Array(fields[2])
    }
}
