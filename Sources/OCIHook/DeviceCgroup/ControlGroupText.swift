import Platform

/// One line of `/proc/PID/cgroup`: where a process is in one hierarchy. cgroups(7)
struct ControlGroupMembership: Equatable, Sendable {
    /// The controllers of a hierarchy of version 1; none for version 2.
    var controllers: [String]
    /// Whether the hierarchy is that of version 2.
    var isUnified: Bool
    /// The cgroup, seen from the root of the reader's cgroup namespace; nothing where it lies outside of it.
    var path: GroupPath?

    /// Reads the whole file.
    static func parse(_ text: [UInt8]) throws(Failure) -> [ControlGroupMembership] {
        var memberships: [ControlGroupMembership] = []
        for line in text.split(separator: UInt8(ascii: "\n")) {
            // The path may itself hold colons.
            let fields = line.split(separator: UInt8(ascii: ":"), maxSplits: 2, omittingEmptySubsequences: false)
            guard fields.count == 3, let hierarchy = UInt32(String(decoding: fields[0], as: UTF8.self)),
                fields[2].first == UInt8(ascii: "/"), String(validating: fields[2], as: UTF8.self) != nil
            else {
                throw Failure(
                    "cannot find the control groups of the container",
                    because: "a line of /proc/PID/cgroup is \"\(String(decoding: line, as: UTF8.self))\""
                )
            }
            memberships.append(
                ControlGroupMembership(
                    controllers: list(fields[1]),
                    isUnified: hierarchy == 0 && fields[1].isEmpty,
                    path: GroupPath(fields[2])
                )
            )
        }
        return memberships
    }
}

/// A line of `/proc/PID/mountinfo`, as far as it is of use for cgroups. proc_pid_mountinfo(5)
struct ControlGroupMount: Equatable, Sendable {
    /// `cgroup` or `cgroup2`.
    var type: String
    /// Which part of the hierarchy is mounted; nothing where it lies outside of the reader's cgroup namespace.
    var root: GroupPath?
    /// Where it is mounted.
    var mountPoint: String
    /// The options of the file system, among which version 1 names its controllers.
    var options: [String]

    /// Reads the mounts of cgroup file systems out of the whole file.
    static func parse(_ text: [UInt8]) -> [ControlGroupMount] {
        text.split(separator: UInt8(ascii: "\n")).compactMap(parse(line:))
    }

    private static func parse(line: ArraySlice<UInt8>) -> ControlGroupMount? {
        let fields = line.split(separator: UInt8(ascii: " "), omittingEmptySubsequences: false).map(Array.init)
        // Six fields, any number of optional ones, a dash, three more.
        guard fields.count >= 10,
            let dash = fields[6...].firstIndex(of: [UInt8(ascii: "-")]), dash + 3 < fields.count
        else { return nil }
        let type = String(decoding: fields[dash + 1], as: UTF8.self)
        guard type == "cgroup" || type == "cgroup2", let root = unescape(fields[3]),
            let mountPoint = unescape(fields[4]).flatMap({ String(validating: $0, as: UTF8.self) }),
            mountPoint.utf8.first == UInt8(ascii: "/")
        else { return nil }
        return ControlGroupMount(
            type: type,
            root: GroupPath(root),
            mountPoint: mountPoint,
            options: list(fields[dash + 3][...])
        )
    }

    /// Blank, tab, line feed, backslash and number sign are written as a backslash and three octal digits.
    static func unescape(_ field: [UInt8]) -> [UInt8]? {
        var plain: [UInt8] = []
        var rest = field[...]
        while let byte = rest.popFirst() {
            guard byte != 0 else { return nil }
            guard byte == UInt8(ascii: "\\") else {
                plain.append(byte)
                continue
            }
            let digits = rest.prefix(3)
            guard digits.count == 3, let value = UInt8(String(decoding: digits, as: UTF8.self), radix: 8), value != 0,
                digits.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "7")).contains($0) })
            else { return nil }
            plain.append(value)
            rest = rest.dropFirst(3)
        }
        return plain
    }
}

/// Takes a list apart at its commas.
private func list(_ text: ArraySlice<UInt8>) -> [String] {
    text.split(separator: UInt8(ascii: ",")).map { String(decoding: $0, as: UTF8.self) }
}
