import CLinux
import Glibc
import Platform
import VTPMProxy

/// The container's `/dev` before the runtime changes its root, and the nodes that the hook mounted there.
///
/// The image and the volumes decide what is below the root filesystem, and other containers may change volumes
/// meanwhile. So only the root filesystem itself is opened by its path, no link is followed, and the mounts are checked
/// afterwards. All calls are made in the container's mount namespace.
struct ContainerDev: ~Copyable {
    private let root: ContainerRoot
    private let directory: Descriptor
    private let status: stat
    private var attached: [String] = []

    private static let name = "the container's /dev"

    /// Opens `/dev` below the root filesystem.
    ///
    /// - Throws: ``Failure`` unless it is the root of a tmpfs that is not mounted on the host.
    init(of root: consuming ContainerRoot, host: HostMounts) throws(Failure) {
        let what = "cannot put the TPM into the container's /dev"
        let directory: Descriptor
        do {
            directory = try root.open("dev", O_RDONLY | O_DIRECTORY)
        } catch let error where error.code == ELOOP || error.code == ENOTDIR {
            throw Failure(what, because: "it is a link or no directory")
        }
        let status = try directory.status(Self.name)
        guard !host.contain(status.st_dev) else { throw Failure(what, because: "it is the host's own") }
        guard try directory.fileSystemMagic(Self.name) == Int(TMPFS_MAGIC),
            try MountIdentity(of: directory, Self.name).isRoot
        else {
            throw Failure(what, because: "it is no tmpfs of its own", hint: Self.devHint)
        }
        self.root = root
        self.directory = directory
        self.status = status
    }

    static let devHint = "the config.json needs a mount of type tmpfs on /dev"

    /// Checks that the nodes and the log can be mounted, and changes nothing.
    func examine() throws(Failure) {
        for name in ["tpm0", "tpmrm0", LaunchLogFile.name] { _ = try isInTheWay(name) }
    }

    /// Creates a file of this name, and mounts a node on it. move_mount(2)
    mutating func attach(_ node: borrowing Descriptor, as name: String) throws(Failure) {
        let target = try makeTarget(name)
        attached.append(name)
        try DetachedMount.attach(node, to: target, Self.failed(name))
    }

    /// Checks that the container will find the mounted node, or a file if no device is given; returns it opened with O_PATH, to
    /// check access to it.
    ///
    /// The target, or `/dev` itself, may have been renamed before the mount and replaced. So the node is opened again
    /// from the root filesystem's path on, and must be on the same mount.
    @discardableResult
    func find(
        _ node: borrowing Descriptor,
        as name: String,
        _ device: DeviceNumber?
    ) throws(Failure) -> Descriptor {
        let seen: Descriptor
        do {
            seen = try root.openAgain().open("dev/\(name)", openPathOnly)
        } catch let error where [ENOENT, ELOOP, ENOTDIR, EXDEV].contains(error.code) {
            throw Self.replaced(name)
        }
        let status = try seen.status("/dev/\(name)")
        let isExpected =
            if let device { status.st_mode & S_IFMT == S_IFCHR && DeviceNumber(status.st_rdev) == device } else {
                status.st_mode & S_IFMT == S_IFREG
            }
        guard isExpected,
            try MountIdentity(of: seen, "/dev/\(name)") == MountIdentity(of: node, "/dev/\(name)")
        else { throw Self.replaced(name) }
        return seen
    }

    private static func failed(_ name: String) -> String { "cannot put /dev/\(name) into the container" }

    private static func replaced(_ name: String) -> Failure {
        Failure(failed(name), because: "something else has appeared in its place")
    }

    /// Returns whether there is a file or device that has to be removed for a node.
    ///
    /// - Throws: ``Failure`` if there is something else, or if `/dev` is read-only.
    private func isInTheWay(_ name: String) throws(Failure) -> Bool {
        let what = Self.failed(name)
        // A read-only /dev becomes read-only once the container runs, but not before.
        var mount = statfs()
        let number = directory.number
        try systemCall("fstatfs", what) { fstatfs(number, &mount) }
        guard Int(mount.f_flags) & clinux_st_rdonly == 0 else {
            throw Failure(what, because: "its /dev is read-only already")
        }
        let there: Descriptor
        do {
            there = try .open(name, .beneath(openPathOnly), at: number, as: "/dev/\(name)")
        } catch let error where error.code == ENOENT {
            return false
        }
        // In a user namespace, runc bind-mounts the host's device of this name, whatever its number is.
        guard try !MountIdentity(of: there, "/dev/\(name)").isRoot else {
            throw Failure(
                what,
                because: "something is mounted there",
                hint: "take /dev/\(name) out of linux.devices and mounts of the config.json"
            )
        }
        switch try there.status("/dev/\(name)").st_mode & S_IFMT {
        case S_IFREG, S_IFCHR: return true
        case S_IFLNK: throw Failure(what, because: "the image has a symbolic link there")
        default: throw Failure(what, because: "the image has something there that is no device")
        }
    }

    /// Makes the empty file that the node is mounted on.
    ///
    /// An existing file or device on the container's own tmpfs is replaced; anything else is refused.
    private func makeTarget(_ name: String) throws(Failure) -> Descriptor {
        let parent = directory.number
        if try isInTheWay(name) { try systemCall("unlinkat", Self.failed(name)) { unlinkat(parent, name, 0) } }
        return try asFileSystemUser(status.st_uid, status.st_gid) { () throws(Failure) in
            // O_EXCL: a file or link that another process creates in between is neither followed nor used.
            let options = OpenOptions.beneath(O_RDONLY | O_CREAT | O_EXCL, mode: 0o600)
            return try Descriptor.open(name, options, at: parent, as: "/dev/\(name)")
        }
    }

    /// Unmounts the nodes and removes their files, for a container that is not created.
    mutating func detachAll() {
        // umount2(2) takes no descriptor, so /dev becomes the working directory, and the name is relative to it.
        guard fchdir(directory.number) == 0 else { return }
        for name in attached.reversed() {
            _ = umount2(name, CInt(MNT_DETACH | UMOUNT_NOFOLLOW))
            _ = unlinkat(directory.number, name, 0)
        }
        attached = []
        _ = chdir("/")
    }
}

/// Runs `body` with another user and group for file system access. setfsuid(2), setfsgid(2)
///
/// On a file system that was mounted in a user namespace, only users and groups that are mapped there can create files.
/// Even the host's root gets EOVERFLOW.
private func asFileSystemUser<Value: ~Copyable>(
    _ uid: uid_t,
    _ gid: gid_t,
    _ body: () throws(Failure) -> Value
) throws(Failure) -> Value {
    guard uid != 0 || gid != 0 else { return try body() }
    let result: Result<Value, Failure>
    // Neither call reports an error. With an invalid ID, both change nothing and return the current ID.
    setfsgid(gid)
    setfsuid(uid)
    if setfsuid(.max) == CInt(bitPattern: uid), setfsgid(.max) == CInt(bitPattern: gid) {
        do throws(Failure) { result = .success(try body()) } catch { result = .failure(error) }
    } else {
        result = .failure(Failure("cannot act as user \(uid)", because: "setfsuid has no effect"))
    }
    setfsuid(0)
    setfsgid(0)
    guard setfsuid(.max) == 0, setfsgid(.max) == 0 else {
        throw Failure("cannot act as root again", because: "setfsuid has no effect")
    }
    // When the file system user changes, the kernel sets the process's dumpable flag to fs.suid_dumpable.
    try Hardening.protectMemory()
    return try result.get()
}
