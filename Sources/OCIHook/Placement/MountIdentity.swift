import CLinux
import Glibc
import Platform

/// Which object of which mount a descriptor refers to. statx(2)
struct MountIdentity: Equatable {
    /// The mount's ID, unique for as long as a descriptor refers to it. STATX_MNT_ID, Linux 5.8
    let mount: UInt64
    /// The object's number in its file system.
    let inode: UInt64
    /// Whether it is where the mount begins. STATX_ATTR_MOUNT_ROOT, Linux 5.8
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
