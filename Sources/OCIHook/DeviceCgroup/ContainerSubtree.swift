import Glibc
import Platform

/// The cgroups that belong to a container, as `linux.cgroupsPath` of its configuration says.
///
/// Those above belong to others and stay as they are, since a rule there would also hold for other containers.
enum ContainerSubtree: Equatable, Sendable {
    /// The configuration names none; only the cgroup of the container's process is its own.
    case leaf
    /// The configuration names a cgroup by its path; the runtime chooses the base of a relative one.
    case path(CgroupPath, isAbsolute: Bool)
    /// The configuration names systemd's unit; where its cgroup is, only systemd says (``ContainerUnit``).
    case systemd(unit: String)

    /// Parses `linux.cgroupsPath`.
    ///
    /// `slice:prefix:name` is the form for the systemd driver. It means the scope `prefix-name.scope`, or the slice
    /// `name` if that ends in `.slice`.
    ///
    /// - Throws: ``Failure`` if the path names no cgroup of the container's own.
    init(cgroupsPath: String?) throws(Failure) {
        guard let cgroupsPath, !cgroupsPath.isEmpty else {
            self = .leaf
            return
        }
        let unusable = Failure(
            "cannot use linux.cgroupsPath \"\(cgroupsPath)\"",
            because: "it names no control group of the container's own"
        )
        let bytes = Array(cgroupsPath.utf8)
        let isAbsolute = bytes[0] == UInt8(ascii: "/")
        let parts = bytes.split(separator: UInt8(ascii: ":"), omittingEmptySubsequences: false)
        if !isAbsolute, parts.count == 3 {
            let (prefix, name) = (String(decoding: parts[1], as: UTF8.self), String(decoding: parts[2], as: UTF8.self))
            guard !name.isEmpty, !parts[2].contains(UInt8(ascii: "/")), !parts[1].contains(UInt8(ascii: "/")) else {
                throw unusable
            }
            let unit = prefix.isEmpty ? name : "\(prefix)-\(name)"
            self = .systemd(unit: name.hasSuffix(".slice") ? name : "\(unit).scope")
            return
        }
        guard let path = CgroupPath(bytes) else { throw unusable }
        self = .path(path, isAbsolute: isAbsolute)
    }

    /// Returns the container's cgroups, from that of its process up to the one that the configuration names.
    ///
    /// The result is empty if that one is not on the way up, or if the hook itself is in one of them. It is empty as
    /// well for a unit of systemd's. The root is never the container's.
    ///
    /// - Parameters:
    ///   - leaf: The cgroup of the container's process, below the mount.
    ///   - own: The cgroup of the hook, below the same mount; nil if the mount does not show it.
    /// - Returns: The cgroups from the bottom up.
    func levels(from leaf: CgroupPath, hook own: CgroupPath?) -> [CgroupPath] {
        let upwards = leaf.upwards
        let top: Int?
        switch self {
        case .leaf:
            top = upwards.indices.first
        case .path(let path, let isAbsolute):
            top = upwards.firstIndex { isAbsolute ? $0 == path : $0.ends(with: path) }
        case .systemd:
            top = nil
        }
        guard let top else { return [] }
        let levels = upwards[...top]
        guard let own, levels.contains(where: { $0.contains(own) }) else { return Array(levels) }
        return []
    }
}
