import CLinux
import CryptoPrimitives
import Glibc
import Platform

/// A root file system of which the kernel verifies each block that it reads, and the digest with which it does.
///
/// The file system is on a device: a loop device whose file has fs-verity, or one of dm-verity. linux:
/// Documentation/filesystems/fsverity.rst, Documentation/admin-guide/device-mapper/verity.rst
public struct VerifiedRoot: Equatable, Sendable {
    /// What verifies the blocks.
    public enum Means: String, Sendable {
        /// fs-verity, of the file that a loop device has.
        case fileVerity = "fsVerity"
        /// dm-verity.
        case deviceVerity = "dmVerity"
    }

    /// What verifies the blocks.
    public let means: Means
    /// The algorithm and the digest, `sha256:…`: of fs-verity the file's, of dm-verity the root hash.
    public let digest: String
    /// The path of the root in the file system.
    public let path: String

    private static let what = "cannot tell what verifies the container's root file system"

    /// Looks for what verifies the file system of a directory; returns nil if nothing does.
    ///
    /// - Throws: ``Failure`` if it cannot be told.
    static func find(at path: String) throws(Failure) -> VerifiedRoot? {
        guard let resolved = realpath(path, nil) else { throw Failure(what, call: "realpath", code: errno) }
        let root = String(cString: resolved)
        free(resolved)
        let directory = try Descriptor.open(root, OpenOptions(openPathOnly | O_DIRECTORY))
        var status = statx()
        let number = directory.number
        try systemCall("statx", what) { clinux_statx(number, "", clinux_at_empty_path, UInt32(STATX_MNT_ID), &status) }
        let id = status.stx_mnt_id
        let mounts = try Procfs().mountInfo()
        // The runtime takes along what is mounted below the root, and nothing here says what that is.
        guard !mounts.contains(where: { $0.id != id && isBelow($0.mountPointBytes ?? [], root) }) else { return nil }
        guard let mount = mounts.first(where: { $0.id == id }), isOfOneDevice(mount), let point = mount.mountPoint,
            let top = mount.root.flatMap({ String(validating: $0, as: UTF8.self) }),
            let inner = inner(path: root, below: point, top)
        else { return nil }
        let device = mount.device
        if let digest = try LoopFile.digest(ofDevice: device, what) {
            return VerifiedRoot(means: .fileVerity, digest: digest, path: inner)
        }
        if let digest = try MappedDevice.rootHash(ofDevice: device, what) {
            return VerifiedRoot(means: .deviceVerity, digest: digest, path: inner)
        }
        return nil
    }

    /// Returns whether all data of a file system are on its own device, from its start on.
    ///
    /// Others can have data on further devices, which mountinfo does not show of all of them.
    private static func isOfOneDevice(_ mount: MountInfo) -> Bool {
        ["ext4", "squashfs"].contains(mount.type) && !mount.options.contains { $0.hasPrefix("sb=") }
    }

    /// Returns whether a path lies below another one.
    private static func isBelow(_ path: [UInt8], _ root: String) -> Bool {
        path.count > root.utf8.count && path.starts(with: (root == "/" ? root : root + "/").utf8)
    }

    /// Returns the path that a path below a mount point has in the mounted file system.
    static func inner(path: String, below point: String, _ top: String) -> String? {
        let (parts, prefix, start) = (components(path), components(point), components(top))
        guard parts.starts(with: prefix, by: { $0.isSame(as: $1) }) else { return nil }
        return "/" + (start + parts.dropFirst(prefix.count)).joined(separator: "/")
    }

    private static func components(_ path: String) -> [String] {
        path.parts(at: "/").filter { !$0.isEmpty }
    }

    var statement: CanonicalJSON {
        .object([.init(means.rawValue, .string(digest)), .init("path", .string(path))])
    }
}

/// A block device, by its number in sysfs.
private enum BlockDevice {
    /// Reads the first line of a file that sysfs has for a device, or what follows a key in it; returns nil if there is none.
    static func attribute(_ name: String, of device: dev_t, key: String = "") throws(Failure) -> String? {
        let path = "/sys/dev/block/\(clinux_major(device)):\(clinux_minor(device))/\(name)"
        do {
            let text = try Descriptor.open(path, .read).readAll(limit: 4096, path)
            let lines = text.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
            let line = lines.first { $0.starts(with: key.utf8) }
            return line.map { String(decoding: $0.dropFirst(key.utf8.count), as: UTF8.self) }
        } catch let error where error.code == ENOENT || error.code == ENOTDIR {
            return nil
        }
    }
}

/// The file of a loop device. loop(4)
private enum LoopFile {
    /// The kernel's own file systems with fs-verity. statfs(2)
    private static let (ext4, f2fs, btrfs) = (0xef53, 0xf2f5_2010, 0x9123_683e)

    /// Returns the digest of fs-verity of a loop device's whole file; nil if it is no such device, or the file has none.
    static func digest(ofDevice device: dev_t, _ what: String) throws(Failure) -> String? {
        guard let path = try BlockDevice.attribute("loop/backing_file", of: device) else { return nil }
        let node = "/dev/\(try BlockDevice.attribute("uevent", of: device, key: "DEVNAME=") ?? "")"
        let loop = try Descriptor.open(node, .read)
        guard try loop.status(node).st_rdev == device else { throw Failure(what, because: "\(node) is another device") }
        var info = loop_info64()
        let number = loop.number
        try systemCall("ioctl LOOP_GET_STATUS64", what) { ioctl(number, UInt(LOOP_GET_STATUS64), &info) }
        let file: Descriptor
        do {
            file = try Descriptor.openFile(path, .read)
        } catch let error where error.code == ENOENT {
            // It was removed, or has another path here.
            return nil
        }
        // Of others the digest is what a server says.
        guard try [ext4, f2fs, btrfs].contains(file.fileSystemMagic(path)) else { return nil }
        let status = try file.status(path)
        guard status.st_dev == info.lo_device, status.st_ino == info.lo_inode else {
            throw Failure(what, because: "\(path) is another file than the one of \(node)")
        }
        guard info.lo_offset == 0, info.lo_sizelimit == 0 else { return nil }
        return try digest(of: file, what)
    }

    /// FS_IOC_MEASURE_VERITY: the algorithm and the size, 16 bits each, and the digest.
    private static func digest(of file: borrowing Descriptor, _ what: String) throws(Failure) -> String? {
        let headerSize = 4
        var answer = [UInt8](repeating: 0, count: headerSize + 64)
        // The room for the digest.
        answer[2] = 64
        let number = file.number
        do {
            try systemCall("ioctl FS_IOC_MEASURE_VERITY", what) {
                ioctl(number, clinux_fs_ioc_measure_verity, &answer)
            }
        } catch let error where [ENODATA, ENOTTY, EOPNOTSUPP].contains(error.code) {
            return nil
        }
        let (algorithm, size) = (Int(answer[0]) | Int(answer[1]) << 8, Int(answer[2]) | Int(answer[3]) << 8)
        // FS_VERITY_HASH_ALG_SHA256 and _SHA512.
        guard let name = [1: "sha256", 2: "sha512"][algorithm], size <= 64 else { return nil }
        return "\(name):\(Hexadecimal.encode(answer[headerSize..<headerSize + size]))"
    }
}

/// A device of the device mapper. linux/dm-ioctl.h
enum MappedDevice {
    /// The room for a table, in bytes.
    private static let size = 16 * 1024

    /// Returns the root hash of a device that is all of dm-verity; nil if it is none.
    static func rootHash(ofDevice device: dev_t, _ what: String) throws(Failure) -> String? {
        guard let identity = try BlockDevice.attribute("dm/uuid", of: device),
            identity.utf8.starts(with: "CRYPT-VERITY-".utf8)
        else { return nil }
        let path = "/dev/mapper/control"
        let control = try Descriptor.open(path, OpenOptions(O_RDWR))
        var request = dm_ioctl()
        request.version = (4, 0, 0)
        request.data_size = UInt32(size)
        request.data_start = UInt32(MemoryLayout<dm_ioctl>.size)
        request.flags = UInt32(clinux_dm_status_table_flag)
        request.dev = UInt64(device)
        let start = UnsafeMutableRawPointer.allocate(byteCount: size, alignment: 16)
        defer { start.deallocate() }
        let memory = UnsafeMutableRawBufferPointer(start: start, count: size)
        memory.initializeMemory(as: UInt8.self, repeating: 0)
        memory.storeBytes(of: request, as: dm_ioctl.self)
        let number = control.number
        try systemCall("ioctl DM_TABLE_STATUS", what) { ioctl(number, clinux_dm_table_status, start) }
        let answer = memory.load(as: dm_ioctl.self)
        let offset = Int(answer.data_start)
        guard answer.flags & clinux_dm_buffer_full_flag == 0, answer.target_count == 1,
            offset + MemoryLayout<dm_target_spec>.size < size
        else { return nil }
        let target = memory.loadUnaligned(fromByteOffset: offset, as: dm_target_spec.self)
        let type = withUnsafeBytes(of: target.target_type) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
        guard type == "verity", target.sector_start == 0 else { return nil }
        let parameters = memory[(offset + MemoryLayout<dm_target_spec>.size)...].prefix { $0 != 0 }
        return rootHash(inTable: String(decoding: parameters, as: UTF8.self))
    }

    /// What has the kernel give out blocks that it has not verified, or not each time that they are read.
    private static let weakening: [Substring] = ["ignore_corruption", "check_at_most_once"]

    /// Returns the algorithm and the root hash in a table's line: version, devices, sizes, number of blocks, start of the hashes,
    /// algorithm, root hash, salt, and options.
    static func rootHash(inTable line: String) -> String? {
        let words = line.split(separator: " ")
        guard words.count >= 10, words[0] == "1", !words[10...].contains(where: weakening.contains) else { return nil }
        return "\(words[7]):\(words[8])"
    }
}
