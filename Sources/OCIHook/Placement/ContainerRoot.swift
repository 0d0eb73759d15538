import CLinux
import Glibc
import Platform

/// A container's root filesystem, before the runtime changes to it.
///
/// All calls are made in the container's mount namespace.
struct ContainerRoot: ~Copyable {
    private let path: String
    private let directory: Descriptor

    /// Opens it by the path that the engine gave, without following links of procfs. openat2(2), RESOLVE_NO_MAGICLINKS
    init(_ path: String) throws(Failure) {
        let directory = try Descriptor.open(
            path,
            .withoutMagicLinks(openPathOnly | O_DIRECTORY),
            as: "the container's root filesystem \(path)"
        )
        self.path = path
        self.directory = directory
    }

    /// Opens its path again, which may lead to another directory by now.
    func openAgain() throws(Failure) -> ContainerRoot { try ContainerRoot(path) }

    /// Returns the ID of the mount that it is on.
    func mount() throws(Failure) -> UInt64 {
        try MountIdentity(of: directory, "the container's root filesystem \(path)").mount
    }

    /// Opens a path below it, without following any link. openat2(2)
    func open(_ path: String, _ flags: CInt) throws(Failure) -> Descriptor {
        try .open(path, .beneath(flags), at: directory.number, as: "the container's /\(path)")
    }

    /// Opens a path below it as the container would: links are followed, but never out of this root. openat2(2)
    func openAsContainer(_ path: String, _ flags: CInt) throws(Failure) -> Descriptor {
        try .open(path, .inRoot(flags), at: directory.number, as: "the container's /\(path)")
    }
}

extension ContainerRoot {
    /// The largest `/etc/group` that is read, in bytes.
    private static let groupFileLimit = 1 << 20

    /// Returns the ID of a group by its name in the container's `/etc/group`. group(5)
    ///
    /// The image controls the file. It can only choose who in the container may use the container's own TPM.
    ///
    /// In some images the file or `/etc` is a link (Nix: into its store; Android: to `/system/etc`). It is followed as
    /// the container would follow it, and never out of its root.
    func groupID(named name: String) throws(Failure) -> gid_t {
        let what = "cannot find the group \"\(name)\" in the container's /etc/group"
        let hint = "give device.group a number"
        let path = "etc/group"
        do throws(Failure) {
            // O_PATH first: opening a device can have side effects, and opening a FIFO can block.
            let there = try openAsContainer(path, openPathOnly)
            guard try there.status("/etc/group").st_mode & S_IFMT == S_IFREG else {
                throw Failure(what, because: "it is no regular file")
            }
            let file = try openAsContainer(path, O_RDONLY | O_NONBLOCK | O_NOCTTY)
            guard try MountIdentity(of: file, "/etc/group") == MountIdentity(of: there, "/etc/group") else {
                throw Failure(what, because: "it has been replaced")
            }
            let text = try file.readAll(limit: Self.groupFileLimit, "the container's /etc/group")
            guard let id = Self.groupID(named: name, in: text) else {
                throw Failure(what, because: "it is not there")
            }
            return id
        } catch let error where error.code == ELOOP {
            throw Failure(what, because: "a link on the way leads nowhere", hint: hint)
        } catch {
            throw error.withHint(hint)
        }
    }

    /// Returns the ID in the first line of this name, as getgrnam(3) does; nil if there is none.
    ///
    /// A line is `name:password:GID:members`.
    private static func groupID(named name: String, in text: [UInt8]) -> gid_t? {
        for line in text.split(separator: UInt8(ascii: "\n")) {
            let fields = line.split(separator: UInt8(ascii: ":"), omittingEmptySubsequences: false)
            guard fields.count >= 3, fields[0].elementsEqual(name.utf8),
                fields[2].allSatisfy((UInt8(ascii: "0")...UInt8(ascii: "9")).contains),
                let id = gid_t(String(decoding: fields[2], as: UTF8.self)), id != .max
            else { continue }
            return id
        }
        return nil
    }
}
