import CLinux
import Glibc
import Platform
import VTPMProxy

/// The container's `/dev`, before the runtime changes its root, and what the hook mounted there.
///
/// The image and the volumes decide what lies below the root filesystem, and other containers may change volumes while
/// the hook works: nothing is found by path but the root filesystem itself, no link is followed, and what was mounted is
/// looked at again afterwards. All calls are made in the container's mount namespace.
struct ContainerDev: ~Copyable {
    private let directory: Descriptor
    private var attached: [String] = []

    /// Finds `/dev` below the root filesystem and makes sure that it is the container's own.
    init(rootPath: String, hostDev: stat) throws(Failure) {
        let root = try Descriptor.open(
            rootPath,
            OpenOptions(openPathOnly | O_DIRECTORY),
            as: "the container's root filesystem \(rootPath)"
        )
        let what = "cannot put the TPM into the container's /dev"
        let directory: Descriptor
        do {
            directory = try .open("dev", .beneath(O_RDONLY | O_DIRECTORY), at: root.number, as: "the container's /dev")
        } catch let error where error.code == ELOOP || error.code == ENOTDIR {
            throw Failure(what, because: "it is a link or no directory")
        }
        let status = try directory.status("the container's /dev")
        guard status.st_dev != hostDev.st_dev else { throw Failure(what, because: "it is the host's own /dev") }
        guard try directory.fileSystemMagic("the container's /dev") == Int(TMPFS_MAGIC),
            try Self.isMountRoot(directory)
        else {
            throw Failure(what, because: "it is no tmpfs of its own", remedy: Self.devRemedy)
        }
        self.directory = directory
    }

    static let devRemedy = "the config.json needs a mount of type tmpfs on /dev"

    /// Mounts a node, and checks that the container will find this device and nothing else.
    ///
    /// Returns the node as the container has it, opened with O_PATH, so that access to it can be tried.
    mutating func attach(
        _ node: borrowing Descriptor,
        as name: String,
        _ device: DeviceNumber
    ) throws(Failure) -> Descriptor {
        let what = "cannot put /dev/\(name) into the container"
        let target = try makeTarget(name, what)
        let (source, destination) = (node.number, target.number)
        attached.append(name)
        try systemCall("move_mount", what) {
            move_mount(source, "", destination, "", clinux_move_mount_f_empty_path | clinux_move_mount_t_empty_path)
        }
        let seen = try Descriptor.open(name, .beneath(openPathOnly), at: directory.number, as: "/dev/\(name)")
        let status = try seen.status("/dev/\(name)")
        guard status.st_mode & S_IFMT == S_IFCHR, DeviceNumber(status.st_rdev) == device else {
            throw Failure(what, because: "something else has appeared in its place")
        }
        return seen
    }

    /// Looks whether the nodes can be mounted, and changes nothing.
    func examine() throws(Failure) {
        for name in ["tpm0", "tpmrm0"] {
            _ = try isInTheWay(name, "cannot put /dev/\(name) into the container")
        }
    }

    /// Whether there is something that has to be removed for a node, and may be.
    private func isInTheWay(_ name: String, _ what: String) throws(Failure) -> Bool {
        let parent = directory.number
        let there: Descriptor
        do {
            there = try .open(name, OpenOptions(openPathOnly | O_NOFOLLOW), at: parent, as: "/dev/\(name)")
        } catch let error where error.code == ENOENT {
            return false
        }
        switch try there.status("/dev/\(name)").st_mode & S_IFMT {
        case S_IFREG, S_IFCHR: return true
        case S_IFLNK: throw Failure(what, because: "the image has a symbolic link there")
        default: throw Failure(what, because: "the image has something there that is no device")
        }
    }

    /// Makes the empty file that the node is mounted on.
    ///
    /// What is there already is replaced where it is a plain file or a device, on the container's own tmpfs, and
    /// refused otherwise.
    private func makeTarget(_ name: String, _ what: String) throws(Failure) -> Descriptor {
        let parent = directory.number
        if try isInTheWay(name, what) { try systemCall("unlinkat", what) { unlinkat(parent, name, 0) } }
        // O_EXCL: what somebody puts there in between is not followed, and not used.
        let options = OpenOptions.beneath(O_RDONLY | O_CREAT | O_EXCL, mode: 0o600)
        return try .open(name, options, at: parent, as: "/dev/\(name)")
    }

    /// Takes back what was mounted, for a container that does not come to be.
    mutating func detachAll() {
        // umount2(2) knows no descriptors: a name relative to this directory, which is the working directory meanwhile.
        guard fchdir(directory.number) == 0 else { return }
        for name in attached.reversed() {
            _ = umount2(name, CInt(MNT_DETACH | UMOUNT_NOFOLLOW))
            _ = unlinkat(directory.number, name, 0)
        }
        attached = []
        _ = chdir("/")
    }

    /// Whether a directory is where something is mounted. statx(2) STATX_ATTR_MOUNT_ROOT, Linux 5.8
    private static func isMountRoot(_ directory: borrowing Descriptor) throws(Failure) -> Bool {
        var result = statx()
        let number = directory.number
        try systemCall("statx", "cannot examine the container's /dev") {
            clinux_statx(number, "", clinux_at_empty_path, UInt32(STATX_TYPE), &result)
        }
        return result.stx_attributes & UInt64(STATX_ATTR_MOUNT_ROOT) != 0
    }
}
