import CLinux
import Glibc
import Platform

/// A mount namespace of this process's own, with a `/dev` that has all of the host's devices but its TPMs.
///
/// The new `/dev` is a tmpfs, as a container's is, on which each entry of the host's is mounted or linked. What the host gets
/// later appears in it only in a directory, such as `/dev/pts` or `/dev/mapper`.
enum PrivateDev {
    /// An entry of the host's `/dev`.
    struct Entry: Equatable {
        enum Kind: Equatable {
            case directory
            case link(target: String)
            /// A device, or any other file.
            case file
        }

        let name: String
        let kind: Kind
    }

    private static let what = "cannot make a /dev of the command's own"
    /// What shows all TPMs of the host in sysfs, where a library may look for one, and their PCRs.
    private static let hidden = [
        "/sys/class/tpm", "/sys/class/tpmrm", "/sys/devices/virtual/tpm", "/sys/devices/virtual/tpmrm",
    ]

    /// Enters the namespace.
    ///
    /// Nothing of it spreads to the host. What the host mounts and unmounts later does spread into it, so that a long command
    /// keeps no disk busy. mount_namespaces(7), MS_SLAVE
    static func enter() throws(Failure) {
        try systemCall("unshare", what) { unshare(clinux_clone_newns) }
        try systemCall("mount MS_SLAVE", what) { mount(nil, "/", nil, UInt(MS_REC | MS_SLAVE), nil) }
        // It stays where it is, below the new one, where only descriptors and the working directory lead.
        let host = try Descriptor.open("/dev", .directory)
        let present = try entries(of: host)
        let own = try DetachedMount.tmpfs(
            [("mode", "0755"), ("size", "1m")],
            attributes: clinux_mount_attr_nosuid,
            what
        )
        try DetachedMount.attach(own, to: host, what)
        for entry in present where !isTPM(entry.name) { try add(entry, from: host, to: own) }
    }

    /// Hides all TPMs in sysfs, the command's own too: the kernel makes the folders with the first TPM, which it may be.
    static func hideTPMsInSysfs() throws(Failure) {
        for path in hidden where access(path, F_OK) == 0 { try hide(path) }
    }

    /// Leaves a working directory below what is hidden for the one that has its path now, or for the root directory.
    ///
    /// It stays on the mount that it was entered on, so `./tpm0` would be the host's.
    static func renewWorkingDirectory() throws(Failure) {
        guard let raw = getcwd(nil, 0) else { return }
        defer { free(raw) }
        let path = String(cString: raw)
        guard isHidden(path), chdir(raw) != 0 else { return }
        try systemCall("chdir", "cannot leave \(path.excerpt)") { chdir("/") }
    }

    /// Returns whether something else is mounted on a path, or above it.
    static func isHidden(_ path: String) -> Bool {
        (["/dev"] + hidden).contains { path == $0 || path.hasPrefix("\($0)/") }
    }

    /// Returns whether a name is that of a TPM or of its resource manager: `tpmN`, `tpmrmN`.
    static func isTPM(_ name: String) -> Bool {
        ["tpm", "tpmrm"].contains { prefix in
            let digits = name.utf8.dropFirst(prefix.utf8.count)
            return name.hasPrefix(prefix) && !digits.isEmpty
                && digits.allSatisfy { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }
        }
    }

    static func entries(of directory: borrowing Descriptor) throws(Failure) -> [Entry] {
        var found: [Entry] = []
        for name in try Platform.entries(of: directory, "/dev").sorted() {
            var status = stat()
            let number = directory.number
            do {
                try systemCall("fstatat", what) { fstatat(number, name, &status, AT_SYMLINK_NOFOLLOW) }
                switch status.st_mode & S_IFMT {
                case S_IFDIR: found.append(Entry(name: name, kind: .directory))
                case S_IFLNK:
                    found.append(Entry(name: name, kind: .link(target: try target(ofLink: name, at: directory, what))))
                default: found.append(Entry(name: name, kind: .file))
                }
            } catch let error where error.code == ENOENT {
                // A device that was taken away meanwhile.
            }
        }
        return found
    }

    private static func add(
        _ entry: Entry,
        from host: borrowing Descriptor,
        to own: borrowing Descriptor
    ) throws(Failure) {
        let (parent, name) = (own.number, entry.name)
        let what = "cannot put /dev/\(name) into the command's /dev"
        let flags: CInt
        switch entry.kind {
        case .link(let target):
            try systemCall("symlinkat", what) { symlinkat(target, parent, name) }
            return
        case .directory:
            try systemCall("mkdirat", what) { mkdirat(parent, name, 0o755) }
            flags = O_DIRECTORY
        case .file:
            try systemCall("mknodat", what) { mknodat(parent, name, S_IFREG | 0o600, 0) }
            flags = 0
        }
        do {
            let mount = try DetachedMount.clone(name, at: host, recursively: entry.kind == .directory, what)
            try DetachedMount.attach(mount, to: .open(name, .beneath(openPathOnly | flags), at: parent), what)
        } catch let error where error.code == ENOENT {
            // As above.
            try remove(name, at: own, flags: flags == 0 ? 0 : AT_REMOVEDIR, "/dev/\(name)")
        }
    }

    private static func hide(_ path: String) throws(Failure) {
        let what = "cannot hide \(path) from the command"
        let attributes = clinux_mount_attr_nosuid | clinux_mount_attr_noexec | clinux_mount_attr_rdonly
        let empty = try DetachedMount.tmpfs([("mode", "0755")], attributes: attributes, what)
        try DetachedMount.attach(empty, to: .open(path, .directory), what)
    }
}
