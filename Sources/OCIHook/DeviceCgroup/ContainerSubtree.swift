import Platform

/// Which cgroups belong to a container, as `linux.cgroupsPath` of its configuration says.
///
/// Whatever lies above belongs to somebody else and is not touched: a rule there would reach other containers.
enum ContainerSubtree: Equatable, Sendable {
    /// The configuration names none: only the cgroup that the container's process is in.
    case leaf
    /// The configuration names one of the cgroup file system; a relative path starts wherever the runtime likes.
    case path(GroupPath, isAbsolute: Bool)
    /// systemd owns the cgroup, and builds its filter again at will.
    case systemd(unit: String)

    /// Reads what the configuration says.
    ///
    /// `slice:prefix:name` is the form for the systemd driver: a scope `prefix-name.scope`, or a slice where the name
    /// is that of one.
    init(cgroupsPath: String?) throws(Failure) {
        guard let cgroupsPath, !cgroupsPath.isEmpty else {
            self = .leaf
            return
        }
        let bytes = Array(cgroupsPath.utf8)
        let isAbsolute = bytes[0] == UInt8(ascii: "/")
        let parts = bytes.split(separator: UInt8(ascii: ":"), omittingEmptySubsequences: false)
        if !isAbsolute, parts.count == 3 {
            let (prefix, name) = (String(decoding: parts[1], as: UTF8.self), String(decoding: parts[2], as: UTF8.self))
            guard !name.isEmpty, !parts[2].contains(UInt8(ascii: "/")), !parts[1].contains(UInt8(ascii: "/")) else {
                throw Self.unusable(cgroupsPath)
            }
            let unit = prefix.isEmpty ? name : "\(prefix)-\(name)"
            self = .systemd(unit: name.hasSuffix(".slice") ? name : "\(unit).scope")
            return
        }
        guard let path = GroupPath(bytes) else { throw Self.unusable(cgroupsPath) }
        self = .path(path, isAbsolute: isAbsolute)
    }

    private static func unusable(_ cgroupsPath: String) -> Failure {
        Failure(
            "cannot use linux.cgroupsPath \"\(cgroupsPath)\"",
            because: "it names no control group of the container's own"
        )
    }

    /// The container's cgroups, from the one that its process is in up to the one that the configuration names.
    ///
    /// None where that one is not on the way up. A cgroup that the hook itself is in is never the container's, nor is
    /// the root.
    ///
    /// - Parameters:
    ///   - leaf: The cgroup of the container's process, below the mount.
    ///   - own: The cgroup of the hook, below the same mount; nothing where it is not there.
    /// - Returns: The cgroups, lowest first.
    func levels(from leaf: GroupPath, hook own: GroupPath?) -> [GroupPath] {
        let upwards = leaf.upwards
        let top: Int?
        switch self {
        case .leaf:
            top = upwards.indices.first
        case .path(let path, let isAbsolute):
            top = upwards.firstIndex { isAbsolute ? $0 == path : $0.ends(with: path) }
        case .systemd(let unit):
            top = upwards.firstIndex { $0.names.last == Array(unit.utf8) }
        }
        guard let top else { return [] }
        let levels = upwards[...top]
        guard let own, levels.contains(where: { $0.contains(own) }) else { return Array(levels) }
        return []
    }
}
