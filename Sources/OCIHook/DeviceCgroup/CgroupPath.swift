/// The path of a cgroup below the root of its hierarchy, or below a mount of it.
///
/// Paths are compared byte by byte. Swift takes canonically equivalent strings for equal, and a combining mark after a
/// slash hides the slash from it.
struct CgroupPath: Hashable, Sendable, CustomStringConvertible {
    /// The path's components; none is empty, `.` or `..`.
    private(set) var names: [[UInt8]]

    static let root = CgroupPath(names: [])

    private init(names: some Sequence<[UInt8]>) {
        self.names = Array(names)
    }

    /// Returns the path with another one, relative to it, at its end.
    func appending(_ other: CgroupPath) -> CgroupPath { CgroupPath(names: names + other.names) }

    /// Splits a path at its slashes; returns nil if a component is `.` or `..`, or holds a zero byte.
    init?(_ text: some Sequence<UInt8>) {
        let names = Array(text).split(separator: UInt8(ascii: "/")).map(Array.init)
        guard !names.contains(where: { $0 == Array(".".utf8) || $0 == Array("..".utf8) || $0.contains(0) }) else {
            return nil
        }
        self.init(names: names)
    }

    /// The path with a leading slash.
    var description: String {
        "/" + String(decoding: Array(names.joined(separator: [UInt8(ascii: "/")])), as: UTF8.self)
    }

    /// The path for openat2(2), relative to the root's directory.
    var relativeText: String {
        names.isEmpty ? "." : String(description.dropFirst())
    }

    /// Returns the path relative to another; nil if it is not below that one.
    func relative(to other: CgroupPath) -> CgroupPath? {
        guard names.starts(with: other.names) else { return nil }
        return CgroupPath(names: names.dropFirst(other.names.count))
    }

    /// Returns the path of an entry of the cgroup's directory.
    func appending(_ name: String) -> CgroupPath {
        CgroupPath(names: names + [Array(name.utf8)])
    }

    /// Returns the path without the components of another one at its end; nil if it does not end with that one.
    func removing(_ other: CgroupPath) -> CgroupPath? {
        guard ends(with: other) else { return nil }
        return CgroupPath(names: names.dropLast(other.names.count))
    }

    /// Returns whether the path's last components are those of another.
    func ends(with other: CgroupPath) -> Bool {
        names.reversed().starts(with: other.names.reversed())
    }

    /// Returns whether another path is equal to this one or below it.
    func contains(_ other: CgroupPath) -> Bool {
        other.relative(to: self) != nil
    }

    /// The path and its parents from the bottom up, without the root.
    var upwards: [CgroupPath] {
        stride(from: names.count, to: 0, by: -1).map { CgroupPath(names: names.prefix($0)) }
    }
}
