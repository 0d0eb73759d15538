import CLinux
import Glibc
import Platform

/// The file systems that are mounted on the host.
///
/// A file that the hook makes in one of them is made on the host. Such a file system is the host's `/dev`, or any other
/// tmpfs that was bind-mounted onto the container's. A tmpfs that the runtime mounted in the container's namespace is
/// not one of them.
struct HostMounts: Equatable, Sendable {
    private let devices: Set<dev_t>

    /// Reads the hook's mounts; must be called in the host's mount namespace.
    init(_ procfs: borrowing Procfs) throws(Failure) {
        self.init(try procfs.mountInfo())
    }

    init(_ mounts: [MountInfo]) {
        devices = Set(mounts.map { $0.device })
    }

    /// Returns whether the file system with this device number, `st_dev` of stat(2), is one of them.
    func contain(_ device: dev_t) -> Bool { devices.contains(device) }
}

/// The file that a descriptor refers to, and the mount on which it was opened. statx(2)
struct MountIdentity: Equatable {
    /// The mount's ID, which is unique for as long as the descriptor is open. STATX_MNT_ID, Linux 5.8
    let mount: UInt64
    /// The file's inode number.
    let inode: UInt64
    /// Whether the file is the root of the mount. STATX_ATTR_MOUNT_ROOT, Linux 5.8
    let isRoot: Bool

    init(of descriptor: borrowing Descriptor, _ name: String) throws(Failure) {
        var result = statx()
        let number = descriptor.number
        let mask = UInt32(STATX_INO | STATX_MNT_ID)
        try systemCall("statx", "cannot examine \(name)") {
            clinux_statx(number, "", clinux_at_empty_path, mask, &result)
        }
        guard result.stx_mask & mask == mask, result.stx_attributes_mask & UInt64(STATX_ATTR_MOUNT_ROOT) != 0 else {
            throw Failure("cannot examine \(name)", because: "the kernel is older than Linux 5.8")
        }
        mount = result.stx_mnt_id
        inode = result.stx_ino
        isRoot = result.stx_attributes & UInt64(STATX_ATTR_MOUNT_ROOT) != 0
    }
}
