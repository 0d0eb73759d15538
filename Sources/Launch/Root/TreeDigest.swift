import CLinux
import CryptoDigests
import CryptoPrimitives
import Glibc
import Platform

/// The SHA-256 of a root file system's tree: what it contains, and who may do what with that.
///
/// First there is a record for each mount, then one for each entry, in the order in which a walk comes by them: the entries of a
/// directory in the order of their names' bytes, each directory before what is in it. A record has four fields, each with a zero
/// byte at its end:
///
/// 1. the type `d`, `f`, `l`, `c`, `b`, `p` or `s`, the mode in octal digits, user and group, with a space between each two; of a
///    mount `m`
/// 2. the path below the root, empty for the root itself; of a mount the one to which the links of the tree lead
/// 3. of a file the SHA-256 of its contents in lower-case digits, of a link its target, of a device `MAJOR:MINOR`; else nothing
/// 4. of a file or a directory its extended attributes `security.capability`, `system.posix_acl_access` and
///    `system.posix_acl_default`, in this order, each as `NAME=DIGITS` with a space after it
///
/// What lies at or below the destination of a mount is left out: the container sees the mount there. A destination is where the
/// links of the tree lead. Also left out is a directory on the way to one that has nothing else in it, since a runtime makes
/// those that are missing. Times are not measured.
///
/// All of the tree is read, at each start.
struct TreeDigest {
    /// The destinations of mounts, in the order of their components.
    private let destinations: Set<[UInt8]>
    /// The directories on the way to those.
    private let ancestors: Set<[UInt8]>
    private let digest: RunningDigest

    /// How deep a tree may be, which bounds the walk's own recursion and its descriptors.
    private static let depthLimit = 256
    private static let what = "cannot measure the container's root file system"

    /// Computes the digest of the tree below a directory, with these mounts.
    ///
    /// `check` is called again and again, and can end it. No more than `limit` bytes are read.
    static func digest(
        of path: String,
        _ mounts: [MountDestination],
        limit: Int = byteLimit,
        check: () throws(Failure) -> Void = { () throws(Failure) in }
    ) throws(Failure) -> [UInt8] {
        // The engine's own path may lead over links.
        let root = try Descriptor.open(path, .withoutMagicLinks(O_RDONLY | O_DIRECTORY), as: path)
        let resolved = try MountDestination.resolve(mounts, in: root)
        let walk = try TreeDigest(resolved)
        for path in resolved { try walk.digest.add(Self.record("m", MountDestination.joined(path))) }
        try walk.digest.add(Self.record(of: root.status(path), [], attributes: Self.attributes(of: root)))
        var left = limit
        try walk.addEntries(of: root, [], depth: 0, &left, check)
        return try walk.digest.end()
    }

    /// The most bytes that are read: a file can have any size without taking any room.
    static let byteLimit = 1 << 38

    private init(_ paths: [[[UInt8]]]) throws(Failure) {
        destinations = Set(paths.map { MountDestination.joined($0) })
        var ancestors: Set<[UInt8]> = []
        for path in paths { for count in path.indices { ancestors.insert(MountDestination.joined(path[..<count])) } }
        self.ancestors = ancestors
        digest = try RunningDigest(.sha256)
    }

    /// Adds the records of a directory's entries, and of what is below them.
    private func addEntries(
        of directory: borrowing Descriptor,
        _ path: [UInt8],
        depth: Int,
        _ left: inout Int,
        _ check: () throws(Failure) -> Void
    ) throws(Failure) {
        guard depth < Self.depthLimit else {
            throw Failure(Self.what, because: "it is more than \(Self.depthLimit) directories deep")
        }
        try check()
        for name in try Self.names(in: directory) {
            let entry = Self.path(path, name)
            if destinations.contains(entry) { continue }
            let status = try Self.status(of: name, in: directory)
            switch status.st_mode & S_IFMT {
            case S_IFDIR:
                let child = try Self.open(name, in: directory, O_RDONLY | O_DIRECTORY)
                if try isOnlyOnTheWay(child, entry) { continue }
                try digest.add(Self.record(of: status, entry, attributes: Self.attributes(of: child)))
                try addEntries(of: child, entry, depth: depth + 1, &left, check)
            case S_IFREG:
                let file = try Self.open(name, in: directory, O_RDONLY | O_NONBLOCK | O_NOCTTY)
                let content = try Self.content(of: file, &left, check)
                try digest.add(Self.record(of: status, entry, content, attributes: Self.attributes(of: file)))
            case S_IFLNK:
                try digest.add(Self.record(of: status, entry, Self.target(of: name, in: directory)))
            default: try digest.add(Self.record(of: status, entry))
            }
        }
    }

    /// Returns whether a directory is on the way to a mount, and has nothing but what is left out.
    private func isOnlyOnTheWay(_ directory: borrowing Descriptor, _ path: [UInt8]) throws(Failure) -> Bool {
        guard ancestors.contains(path) else { return false }
        for name in try Self.names(in: directory) {
            let entry = Self.path(path, name)
            if destinations.contains(entry) { continue }
            guard try Self.status(of: name, in: directory).st_mode & S_IFMT == S_IFDIR,
                try isOnlyOnTheWay(Self.open(name, in: directory, O_RDONLY | O_DIRECTORY), entry)
            else { return false }
        }
        return true
    }

    private static func path(_ parent: [UInt8], _ name: [UInt8]) -> [UInt8] {
        parent.isEmpty ? name : parent + [UInt8(ascii: "/")] + name
    }

    // MARK: - Records

    /// Returns the record of an entry.
    private static func record(
        of status: stat,
        _ path: [UInt8],
        _ content: [UInt8] = [],
        attributes: [UInt8] = []
    ) -> [UInt8] {
        let (type, content) =
            switch status.st_mode & S_IFMT {
            case S_IFDIR: ("d", content)
            case S_IFREG: ("f", content)
            case S_IFLNK: ("l", content)
            case S_IFCHR: ("c", Array("\(DeviceNumber(status.st_rdev))".utf8))
            case S_IFBLK: ("b", Array("\(DeviceNumber(status.st_rdev))".utf8))
            case S_IFIFO: ("p", content)
            default: ("s", content)
            }
        let mode = String(status.st_mode & 0o7777, radix: 8)
        return record("\(type) \(mode) \(status.st_uid) \(status.st_gid)", path, content, attributes)
    }

    private static func record(
        _ head: String,
        _ path: [UInt8],
        _ content: [UInt8] = [],
        _ attributes: [UInt8] = []
    ) -> [UInt8] {
        var record = Array(head.utf8) + [0]
        for field in [path, content, attributes] { record += field + [0] }
        return record
    }

    /// The SHA-256 of a file, in digits.
    private static func content(
        of file: borrowing Descriptor,
        _ left: inout Int,
        _ check: () throws(Failure) -> Void
    ) throws(Failure) -> [UInt8] {
        let running = try RunningDigest(.sha256)
        let part = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 16)
        defer { part.deallocate() }
        let number = file.number
        while true {
            let count = try systemCall("read", what) { read(number, part.baseAddress, part.count) }
            if count == 0 { break }
            left -= count
            guard left >= 0 else { throw Failure(what, because: "its files have more bytes than are read") }
            try check()
            try running.add(UnsafeRawBufferPointer(rebasing: part[..<count]))
        }
        return Array(Hexadecimal.encode(try running.end()).utf8)
    }

    /// The extended attributes that say who may do what with a file or a directory. capabilities(7), acl(5)
    private static let attributeNames = [
        "security.capability", "system.posix_acl_access", "system.posix_acl_default",
    ]
    /// The largest value of one. linux: XATTR_SIZE_MAX
    private static let attributeLimit = 1 << 16

    private static func attributes(of file: borrowing Descriptor) throws(Failure) -> [UInt8] {
        var text: [UInt8] = []
        let number = file.number
        for name in attributeNames {
            var value = [UInt8](repeating: 0, count: attributeLimit)
            do {
                let size = try systemCall("fgetxattr", what) { fgetxattr(number, name, &value, value.count) }
                text += Array("\(name)=\(Hexadecimal.encode(value[..<size])) ".utf8)
            } catch let error where error.code == ENODATA || error.code == EOPNOTSUPP {}
        }
        return text
    }

    private static func target(of name: [UInt8], in directory: borrowing Descriptor) throws(Failure) -> [UInt8] {
        var buffer = [CChar](repeating: 0, count: Int(PATH_MAX))
        let (number, path) = (directory.number, name.map { CChar(bitPattern: $0) } + [0])
        let count = try systemCall("readlinkat", what) { readlinkat(number, path, &buffer, buffer.count) }
        return buffer[..<count].map { UInt8(bitPattern: $0) }
    }

    // Names are bytes, which need not be UTF-8.

    private static func status(of name: [UInt8], in directory: borrowing Descriptor) throws(Failure) -> stat {
        var status = stat()
        let (number, path) = (directory.number, name.map { CChar(bitPattern: $0) } + [0])
        try systemCall("fstatat", what) { fstatat(number, path, &status, AT_SYMLINK_NOFOLLOW) }
        return status
    }

    private static func open(
        _ name: [UInt8],
        in directory: borrowing Descriptor,
        _ flags: CInt
    ) throws(Failure) -> Descriptor {
        let (number, path) = (directory.number, name.map { CChar(bitPattern: $0) } + [0])
        return Descriptor(
            owning: try systemCall("openat", what) { openat(number, path, flags | O_NOFOLLOW | O_CLOEXEC) }
        )
    }

    /// The names of a directory's entries, in the order of their bytes.
    private static func names(in directory: borrowing Descriptor) throws(Failure) -> [[UInt8]] {
        // A descriptor of its own, since the position in a directory belongs to the open file.
        let copy = try open(Array(".".utf8), in: directory, O_RDONLY | O_DIRECTORY)
        guard let stream = fdopendir(copy.number) else { throw Failure(what, call: "fdopendir", code: errno) }
        _ = copy.release()
        defer { closedir(stream) }
        var names: [[UInt8]] = []
        while true {
            errno = 0
            guard let entry = readdir(stream) else { break }
            let name = withUnsafeBytes(of: &entry.pointee.d_name) { Array($0.prefix { $0 != 0 }) }
            if name != Array(".".utf8), name != Array("..".utf8) { names.append(name) }
        }
        let code = errno
        guard code == 0 else { throw Failure(what, call: "readdir", code: code) }
        return names.sorted { $0.lexicographicallyPrecedes($1) }
    }
}
