import Glibc
import Platform

/// The namespaces of the host, in which this process is as well.
enum HostNamespaces {
    /// The kinds by the names that runtime-spec has for them. config-linux.md, "Namespaces"
    private static let kinds: [String: Procfs.Namespace] = [
        "cgroup": .cgroup, "ipc": .ipc, "mount": .mount, "network": .network, "pid": .pid, "time": .time, "user": .user,
        "uts": .uts,
    ]

    /// Returns whether a path leads to the host's own namespace of this kind, by whatever process or file.
    ///
    /// A path that leads nowhere is not the host's: the container cannot be created with it.
    ///
    /// - Throws: ``Failure`` if it cannot be told.
    static func contain(_ path: String, type: String) throws(Failure) -> Bool {
        guard let kind = kinds[type] else { return false }
        let other: Descriptor
        do {
            // O_PATH is enough to compare them, and has no effect on anything else that may be there.
            other = try Descriptor.open(path, OpenOptions(openPathOnly))
        } catch let error where error.code == ENOENT {
            return false
        }
        return try Procfs().namespace(kind, openPathOnly).isSameNamespace(as: other)
    }
}
