import Glibc
import Platform

/// The owner, group and mode of a container's device nodes, with IDs of the host.
package struct DeviceOwner: Equatable, Sendable {
    let uid: uid_t
    let gid: gid_t
    let mode: mode_t

    /// Creates an owner; only with the mode 0660 may the group use the nodes as well.
    package init(uid: uid_t, gid: gid_t, mode: mode_t) {
        self.uid = uid
        self.gid = gid
        self.mode = mode
    }
}

/// The ID maps of the user namespace of a container's init, as the kernel reports them.
///
/// The kernel's maps count, and not those of `config.json`. The latter has none for a container that joins a namespace,
/// and runtimes may set others. If it has maps, they must agree for the two IDs that are needed.
struct UserNamespace: Equatable, Sendable {
    let users: IDMap
    let groups: IDMap

    init(users: IDMap, groups: IDMap) {
        self.users = users
        self.groups = groups
    }

    /// Reads the maps of a process.
    ///
    /// The kernel writes them with the IDs of the reader's namespace, or with those of the parent if the reader is in
    /// the same one (user_namespaces(7)). So the hook must be in the host's namespace.
    init(of initProcess: borrowing ProcessHandle, _ procfs: borrowing Procfs) throws(Failure) {
        guard try Self.map("self/uid_map", procfs).isInitial, try Self.map("self/gid_map", procfs).isInitial else {
            throw Failure(
                Self.what,
                because: "the hook runs in a user namespace",
                hint: "start the engine as the host's root"
            )
        }
        let users = try Self.map("\(initProcess.process)/uid_map", procfs)
        let groups = try Self.map("\(initProcess.process)/gid_map", procfs)
        guard try initProcess.isAlive() else { throw Failure(Self.what, because: "the container's init ended") }
        self.init(users: users, groups: groups)
    }

    private static let what = "cannot give the container its TPM"

    private static func map(_ path: String, _ procfs: borrowing Procfs) throws(Failure) -> IDMap {
        try IDMap(parsing: procfs.read(path, limit: 1 << 16), path: "/proc/\(path)")
    }

    /// Returns the owner of the nodes, with IDs of the host.
    ///
    /// Without a group from the operator, the nodes have the user and group of the container's process and the mode
    /// 0600. With one, they have that user, that group and the mode 0660.
    func deviceOwner(of config: BundleConfig, group: gid_t?) throws(Failure) -> DeviceOwner {
        let user = config.process?.user
        return DeviceOwner(
            uid: try Self.hostID(of: user?.uid ?? 0, users, config.linux?.uidMappings, "user"),
            gid: try Self.hostID(of: group ?? user?.gid ?? 0, groups, config.linux?.gidMappings, "group"),
            mode: group == nil ? 0o600 : 0o660
        )
    }

    private static func hostID(
        of id: UInt32,
        _ map: IDMap,
        _ configured: [IDMap.Extent]?,
        _ kind: String
    ) throws(Failure) -> UInt32 {
        guard let host = map.hostID(of: id) else {
            throw Failure(what, because: "its \(kind) \(id) has no ID on the host")
        }
        guard let configured, !configured.isEmpty else { return host }
        guard IDMap(configured).hostID(of: id) == host else {
            throw Failure(
                what,
                because: "its \(kind) \(id) is \(host) on the host, and config.json maps it otherwise"
            )
        }
        return host
    }
}
