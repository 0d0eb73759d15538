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
    private let root: ContainerRoot
    private let directory: Descriptor
    private let status: stat
    private var attached: [String] = []

    private static let name = "the container's /dev"

    /// Finds `/dev` below the root filesystem and makes sure that it is the container's own.
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

    /// Looks whether the nodes can be mounted, and changes nothing.
    func examine() throws(Failure) {
        for name in ["tpm0", "tpmrm0"] { _ = try isInTheWay(name) }
    }

    /// Mounts a node.
    mutating func attach(_ node: borrowing Descriptor, as name: String) throws(Failure) {
        let target = try makeTarget(name)
        let (source, destination) = (node.number, target.number)
        attached.append(name)
        try systemCall("move_mount", Self.failed(name)) {
            move_mount(source, "", destination, "", clinux_move_mount_f_empty_path | clinux_move_mount_t_empty_path)
        }
    }

    /// Checks that the container will find the node that was mounted, and nothing else.
    ///
    /// The target may have been renamed before the mount, or `/dev` itself, and something else put in its place: so it
    /// is looked for again, from the root filesystem's path on, and has to be the very mount. Returns the node as the
    /// container has it, opened with O_PATH, so that access to it can be tried.
    func find(
        _ node: borrowing Descriptor,
        as name: String,
        _ device: DeviceNumber
    ) throws(Failure) -> Descriptor {
        let seen: Descriptor
        do {
            seen = try root.openAgain().open("dev/\(name)", openPathOnly)
        } catch let error where [ENOENT, ELOOP, ENOTDIR, EXDEV].contains(error.code) {
            throw Self.replaced(name)
        }
        let status = try seen.status("/dev/\(name)")
        guard status.st_mode & S_IFMT == S_IFCHR, DeviceNumber(status.st_rdev) == device,
            try MountIdentity(of: seen, "/dev/\(name)") == MountIdentity(of: node, "/dev/\(name)")
        else { throw Self.replaced(name) }
        return seen
    }

    private static func failed(_ name: String) -> String { "cannot put /dev/\(name) into the container" }

    private static func replaced(_ name: String) -> Failure {
        Failure(failed(name), because: "something else has appeared in its place")
    }

    /// Whether there is something that has to be removed for a node, and may be.
    private func isInTheWay(_ name: String) throws(Failure) -> Bool {
        let what = Self.failed(name)
        // It will be read-only once the container runs, where it is to be, but not yet.
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
        // In a user namespace runc binds the host's device of the same name there, whatever number it was given.
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
    /// What is there already is replaced where it is a plain file or a device, on the container's own tmpfs, and
    /// refused otherwise.
    private func makeTarget(_ name: String) throws(Failure) -> Descriptor {
        let parent = directory.number
        if try isInTheWay(name) { try systemCall("unlinkat", Self.failed(name)) { unlinkat(parent, name, 0) } }
        return try asFileSystemUser(status.st_uid, status.st_gid) { () throws(Failure) in
            // O_EXCL: what somebody puts there in between is not followed, and not used.
            let options = OpenOptions.beneath(O_RDONLY | O_CREAT | O_EXCL, mode: 0o600)
            return try Descriptor.open(name, options, at: parent, as: "/dev/\(name)")
        }
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
}

/// Runs `body` as another user and group, as far as file systems are concerned. setfsuid(2)
///
/// On a file system that a user namespace mounted nothing can be made by somebody whom that namespace does not map, not
/// even by the host's root: EOVERFLOW.
private func asFileSystemUser<Value: ~Copyable>(
    _ uid: uid_t,
    _ gid: gid_t,
    _ body: () throws(Failure) -> Value
) throws(Failure) -> Value {
    guard uid != 0 || gid != 0 else { return try body() }
    let result: Result<Value, Failure>
    // Neither call reports an error; an ID that is none changes nothing and returns the current one.
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
    // The kernel makes a process whose file system user changes as dumpable as fs.suid_dumpable says.
    try Hardening.protectMemory()
    return try result.get()
}
