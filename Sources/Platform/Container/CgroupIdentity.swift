import CLinux
import Glibc

/// The identity of a cgroup of version 2 for a file: its path and its inode number, since paths are used again.
///
/// The kernel counts the inode numbers of cgroups up, with 64 bits, and gives none of them twice. fs/kernfs/dir.c,
/// `__kernfs_new_node`
public struct CgroupIdentity: Equatable, Sendable {
    /// The absolute path of the mount through which the cgroup is found.
    public let mountPoint: String
    /// The inode number of the mount's root, which tells the mount from another at the same path.
    public let mountRoot: UInt64
    /// The cgroup's path, relative to the mount point.
    public let path: String
    /// The cgroup's inode number.
    public let inode: UInt64

    /// Creates the identity that a file has recorded.
    public init(mountPoint: String, mountRoot: UInt64, path: String, inode: UInt64) {
        self.mountPoint = mountPoint
        self.mountRoot = mountRoot
        self.path = path
        self.inode = inode
    }

    /// Creates the identity of the cgroup that has this path now, relative to a mount's open root.
    public init(
        of path: String,
        in mount: borrowing Descriptor,
        mountPoint: String
    ) throws(Failure) {
        let directory = try Self.open(path, in: mount, "\(mountPoint)/\(path)")
        self.init(
            mountPoint: mountPoint,
            mountRoot: UInt64(try mount.status(mountPoint).st_ino),
            path: path,
            inode: UInt64(try directory.status(path).st_ino)
        )
    }

    /// The absolute path of the cgroup's directory.
    public var directory: String { "\(mountPoint)/\(path)" }

    /// Returns whether a process is in the cgroup or in one below it; false if the cgroup was removed.
    ///
    /// - Throws: ``Failure`` if the mount is not there, so that nothing is known of the cgroup.
    public func isPopulated() throws(Failure) -> Bool {
        do {
            guard let directory = try find() else { return false }
            let name = "\(self.directory)/\(CgroupEvents.name)"
            let options = OpenOptions.beneath(O_RDONLY)
            return try CgroupEvents.isPopulated(
                .open(CgroupEvents.name, options, at: directory.number, as: name)
            )
        } catch let error where error.code == ENODEV {
            // It was removed after it was opened.
            return false
        }
    }

    /// Returns whether the cgroup was not removed yet.
    ///
    /// - Throws: ``Failure`` if the mount is not there, so that nothing is known of the cgroup.
    public func exists() throws(Failure) -> Bool {
        switch try find() {
        case .none: false
        case .some: true
        }
    }

    /// Opens the cgroup's directory; returns nil if it was removed, also if another has its path by now.
    private func find() throws(Failure) -> Descriptor? {
        let what = "cannot tell whether the control group \(directory) has processes"
        let mount: Descriptor
        do {
            mount = try .open(mountPoint, .directory)
        } catch let error where error.code == ENOENT || error.code == ENOTDIR {
            throw Failure(what, because: "\(mountPoint) is not there")
        }
        guard try mount.fileSystemMagic(mountPoint) == Int(CGROUP2_SUPER_MAGIC),
            UInt64(try mount.status(mountPoint).st_ino) == mountRoot
        else { throw Failure(what, because: "\(mountPoint) is another file system") }
        do {
            let found = try Self.open(path, in: mount, directory)
            guard UInt64(try found.status(directory).st_ino) == inode else { return nil }
            return found
        } catch let error where error.code == ENOENT || error.code == ENOTDIR {
            return nil
        }
    }

    private static func open(
        _ path: String,
        in mount: borrowing Descriptor,
        _ name: String
    ) throws(Failure) -> Descriptor {
        try .open(path, .beneath(O_RDONLY | O_DIRECTORY), at: mount.number, as: name)
    }
}

extension CgroupIdentity {
    /// Writes an identity, or that there is none.
    public static func write(_ identity: CgroupIdentity?, to writer: inout ByteWriter) {
        writer.write(UInt8(identity == nil ? 0 : 1))
        guard let identity else { return }
        writer.write(text: identity.mountPoint)
        writer.write(identity.mountRoot)
        writer.write(text: identity.path)
        writer.write(identity.inode)
    }

    /// Reads what ``write(_:to:)`` has written; returns false if it is anything else.
    public static func read(_ identity: inout CgroupIdentity?, from reader: inout ByteReader) -> Bool {
        switch reader.read(UInt8.self) {
        case 0:
            identity = nil
            return true
        case 1:
            guard let mountPoint = reader.readText(), let mountRoot = reader.read(UInt64.self),
                let path = reader.readText(), let inode = reader.read(UInt64.self)
            else { return false }
            identity = CgroupIdentity(mountPoint: mountPoint, mountRoot: mountRoot, path: path, inode: inode)
            return true
        default: return false
        }
    }
}
