/// The path of a cgroup below the root of its hierarchy, or below a mount of it.
///
/// It is compared byte by byte. A Swift string is not: texts that look the same are equal to it, and a combining mark
/// after a slash hides the slash.
struct GroupPath: Hashable, Sendable, CustomStringConvertible {
    /// The names on the way, none of them empty, `.` or `..`.
    private(set) var names: [[UInt8]]

    /// The root.
    static let root = GroupPath(names: [])

    private init(names: some Sequence<[UInt8]>) {
        self.names = Array(names)
    }

    /// Takes names apart at the slashes; nothing where one of them leads elsewhere, or where no C string holds them.
    init?(_ text: some Sequence<UInt8>) {
        let names = Array(text).split(separator: UInt8(ascii: "/")).map(Array.init)
        guard !names.contains(where: { $0 == Array(".".utf8) || $0 == Array("..".utf8) || $0.contains(0) }) else {
            return nil
        }
        self.init(names: names)
    }

    /// The path with a slash in front.
    var description: String {
        "/" + String(decoding: Array(names.joined(separator: [UInt8(ascii: "/")])), as: UTF8.self)
    }

    /// The path as a call takes it that starts from the directory of the root.
    var relativeText: String {
        names.isEmpty ? "." : String(description.dropFirst())
    }

    /// What is left of the path below another; nothing where it does not lie below it.
    func relative(to other: GroupPath) -> GroupPath? {
        guard names.starts(with: other.names) else { return nil }
        return GroupPath(names: names.dropFirst(other.names.count))
    }

    /// Whether the last names of the path are these.
    func ends(with other: GroupPath) -> Bool {
        names.reversed().starts(with: other.names.reversed())
    }

    /// Whether another path is the same or lies below.
    func contains(_ other: GroupPath) -> Bool {
        other.relative(to: self) != nil
    }

    /// The path and those above it, without the root.
    var upwards: [GroupPath] {
        stride(from: names.count, to: 0, by: -1).map { GroupPath(names: names.prefix($0)) }
    }
}
