import CLinux
import Glibc
import Platform
import VTPMProxy

/// The two device nodes of a vTPM, made on a private tmpfs and cloned as detached mounts. open_tree(2)
///
/// The host's nodes are of no use: udev sets their owner and mode at some later time, and a user namespace does not map
/// their owner. Nor can nodes be made in the container's `/dev`: on a file system that was mounted in a user namespace,
/// no device node can be opened.
struct DeviceNodes: ~Copyable {
    /// The detached mount for `/dev/tpm0`.
    let tpm: Descriptor
    /// The detached mount for `/dev/tpmrm0`.
    let tpmrm: Descriptor
    /// The event log of the launch.
    let log: LaunchLogFile

    /// Makes the nodes in a mount namespace of the hook's own.
    ///
    /// - Parameters:
    ///   - devices: The two devices.
    ///   - owner: The owner, group and mode of both nodes.
    ///   - label: SELinux's label for both; nil to leave the policy's.
    ///   - log: The event log of the launch; nil if there is none.
    ///   - path: A directory to mount the tmpfs on, in that namespace only.
    /// - Returns: The nodes as detached mounts.
    /// - Throws: ``Failure`` if a call fails.
    static func make(
        of devices: RegisteredTPM,
        owner: DeviceOwner,
        label: String?,
        log: [UInt8]? = nil,
        mountedOn path: String
    ) throws(Failure) -> DeviceNodes {
        try MountNamespace.runInPrivate { () throws(Failure) in
            try DeviceNodes(of: devices, owner: owner, label: label, log: log, mountedOn: path)
        }
    }

    /// Makes nodes that belong to the host's root and are never mounted, to check whether devices could be used.
    static func unseen(of devices: RegisteredTPM, mountedOn path: String) throws(Failure) -> DeviceNodes {
        try make(of: devices, owner: DeviceOwner(uid: 0, gid: 0, mode: 0o600), label: nil, mountedOn: path)
    }

    /// Makes the nodes in the current mount namespace, which must be the hook's own.
    ///
    /// The tmpfs is mounted on a directory of ours, since open_tree(2) cannot clone a mount outside of a namespace
    /// (EINVAL). The directory is opened here: an earlier descriptor would belong to the host's namespace, and nothing
    /// may be mounted there.
    private init(
        of devices: RegisteredTPM,
        owner: DeviceOwner,
        label: String?,
        log: [UInt8]?,
        mountedOn path: String
    ) throws(Failure) {
        let what = "cannot mount a private tmpfs"
        let tmpfs = try DetachedMount.tmpfs(
            [("mode", "0700"), ("size", "64k"), ("nr_inodes", "8")],
            label: label.map { ($0, "cannot label the device nodes \($0)") },
            attributes: clinux_mount_attr_nosuid | clinux_mount_attr_noexec,
            what
        )
        try DetachedMount.attach(tmpfs, to: .open(path, .directory), what)
        let tpm = try Self.make("tpm0", devices.tpm, owner, in: tmpfs)
        let tpmrm = try Self.make("tpmrm0", devices.tpmrm, owner, in: tmpfs)
        let file = try LaunchLogFile(log, label: label, mountedOn: path)
        self.tpm = tpm
        self.tpmrm = tpmrm
        self.log = file
    }

    private static func make(
        _ name: String,
        _ device: DeviceNumber,
        _ owner: DeviceOwner,
        in tmpfs: borrowing Descriptor
    ) throws(Failure) -> Descriptor {
        let what = "cannot make the device node \(name)"
        let parent = tmpfs.number
        try systemCall("mknod", what) { mknodat(parent, name, S_IFCHR | 0o600, device.raw) }
        try systemCall("chown", what) { fchownat(parent, name, owner.uid, owner.gid, AT_SYMLINK_NOFOLLOW) }
        // mknod(2) cannot set the mode: the umask would clear the group's bits.
        try systemCall("chmod", what) { fchmodat(parent, name, owner.mode, 0) }
        return try DetachedMount.clone(name, at: tmpfs, what)
    }
}
