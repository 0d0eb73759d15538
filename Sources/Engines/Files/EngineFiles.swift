import CLinux
import Glibc
import Platform

/// A file of an engine's as it was found.
public struct FoundFile: Sendable {
    /// What is in it.
    public let bytes: [UInt8]
    let status: stat
    /// The extended attributes that a new file in its place needs, by their names.
    let attributes: [(name: String, value: [UInt8])]
}

/// The one place that reads and writes files of engines.
///
/// Where something is changed, no link is followed, and every folder of the path, up to `/`, must be one that root alone
/// can write: anybody else could exchange what is read, or what root writes.
public struct EngineFiles: Sendable {
    /// What precedes every path: empty on the real host.
    let root: String
    /// The user who must own all of it: root.
    let owner: uid_t

    /// The largest file that is read, in bytes.
    static let limit = DockerText.limit
    /// The name of a new file until it takes its place.
    ///
    /// It has none of the endings that engines look for; CRI-O alone reads files of any name.
    static let temporary = ".container-vtpm.new"
    /// Beside owner and mode: the SELinux label, and the access control list.
    private static let kept = ["security.selinux", "system.posix_acl_access"]

    /// Renames an entry of a folder; tests step in here. renameat2(2)
    var rename: @Sendable (_ folder: CInt, _ from: String, _ to: String, _ flags: CUnsignedInt) -> CInt = {
        renameat2($0, $1, $0, $2, $3)
    }

    /// Returns the absolute path without empty parts and dots, by its text alone, as Go's `filepath.Clean` does.
    static func clean(_ path: String) -> String {
        var parts: [Substring] = []
        for part in path.split(separator: "/") where part != "." {
            if part == ".." { _ = parts.popLast() } else { parts.append(part) }
        }
        return "/" + parts.joined(separator: "/")
    }

    /// Creates the access to files below a folder.
    public init(root: String = "", owner: uid_t = 0) { (self.root, self.owner) = (root, owner) }

    /// Reads a file; returns nil if there is none.
    public func read(_ path: String) throws(Failure) -> FoundFile? {
        var made: [String] = []
        guard let folder = try openFolder(of: path, creating: false, &made) else { return nil }
        return try read(path, in: folder)
    }

    /// Reads a file that is not changed, but tells where a change has an effect; returns nil if there is none.
    ///
    /// It is read as its engine reads it: through links, and whoever may have written it.
    public func look(_ path: String) throws(Failure) -> [UInt8]? {
        do {
            return try Descriptor.openFile(root + path, .read, as: path).readAll(limit: Self.limit, path)
        } catch let error where error.code == ENOENT || error.code == ENOTDIR {
            return nil
        }
    }

    private func read(
        _ path: String,
        named name: String? = nil,
        in folder: borrowing Descriptor
    ) throws(Failure) -> FoundFile? {
        let what = "cannot change \(path)"
        let file: Descriptor
        do {
            file = try .openFile(name ?? Self.name(path), .beneath(O_RDONLY), at: folder.number, as: path)
        } catch let error where error.code == ENOENT {
            return nil
        } catch let error where error.code == ELOOP {
            throw Failure(what, because: "\(path) is a symbolic link", hint: "put a file in its place")
        }
        let status = try file.status(path)
        try require(status, path, what)
        guard status.st_nlink == 1 else {
            throw Failure(what, because: "it has another name too, which would keep the old content")
        }
        var attributes: [(name: String, value: [UInt8])] = []
        for name in Self.kept {
            if let value = try attribute(name, of: file, path) { attributes.append((name, value)) }
        }
        let bytes = try file.readAll(limit: Self.limit, path)
        return FoundFile(bytes: bytes, status: status, attributes: attributes)
    }

    /// Writes a file in one step, which a loss of power cannot divide.
    ///
    /// The file that was found gives the owner, the mode and the label; nil stands for none. Returns the folders that were
    /// made for it, the outermost first.
    ///
    /// - Throws: ``Failure`` if something else is there by now, or it cannot be written. Nothing is changed then.
    @discardableResult
    public func write(_ bytes: [UInt8], to path: String, replacing found: FoundFile?) throws(Failure) -> [String] {
        var made: [String] = []
        do throws(Failure) {
            guard let folder = try openFolder(of: path, creating: true, &made) else {
                throw Failure("cannot write \(path)", because: "its folder is gone")
            }
            try replace(path, in: folder, bytes, found)
        } catch let error where error.code == EACCES {
            removeFolders(made)
            let folder = path.split(separator: "/").dropLast().map { "/\($0)" }.joined()
            let rule = "\(folder)/{,*} rw,"
            throw error.withHint("if AppArmor denies it: \"\(rule)\" in /etc/apparmor.d/local/vtpmctl, loaded again")
        } catch {
            removeFolders(made)
            throw error
        }
        return made
    }

    private func replace(
        _ path: String,
        in folder: borrowing Descriptor,
        _ bytes: [UInt8],
        _ found: FoundFile?
    ) throws(Failure) {
        // What a process that was killed has left.
        try remove(Self.temporary, at: folder, path)
        let options = OpenOptions.beneath(O_WRONLY | O_CREAT | O_EXCL, mode: 0o600)
        let file = try Descriptor.open(Self.temporary, options, at: folder.number, as: "a new file for \(path)")
        let new = try file.status(path).st_ino
        do {
            try fill(file, bytes, as: found, path)
            try requireUnchanged(path, in: folder, found)
            try exchange(path, in: folder, found, new: new)
        } catch {
            // What stands there may be somebody else's by now.
            if (try? folder.status(of: Self.temporary, path))??.st_ino == new {
                try? remove(Self.temporary, at: folder, path)
            }
            throw error
        }
        try folder.synchronize(path)
    }

    private func fill(
        _ file: borrowing Descriptor,
        _ bytes: [UInt8],
        as found: FoundFile?,
        _ path: String
    ) throws(Failure) {
        try file.writeAll(bytes, path)
        let number = file.number
        if let found {
            if found.status.st_gid != getegid() || found.status.st_uid != geteuid() {
                let (user, group) = (found.status.st_uid, found.status.st_gid)
                try systemCall("fchown", "cannot give \(path) its owner") { fchown(number, user, group) }
            }
            for (name, value) in found.attributes {
                try systemCall("fsetxattr \(name)", "cannot label \(path)") {
                    fsetxattr(number, name, value, value.count, 0)
                }
            }
        }
        let mode = found.map { $0.status.st_mode & 0o7777 } ?? 0o644
        try systemCall("fchmod", "cannot give \(path) its mode") { fchmod(number, mode) }
        try file.synchronize(path)
    }

    /// Removes a file that is as it was found, and those of these folders that are empty then.
    public func remove(_ path: String, found: FoundFile, folders: [String]) throws(Failure) {
        var made: [String] = []
        guard let folder = try openFolder(of: path, creating: false, &made) else { return }
        try requireUnchanged(path, in: folder, found)
        try takeAway(path, in: folder, found)
        try folder.synchronize(path)
        removeFolders(folders)
    }

    func remove(_ name: String, at folder: borrowing Descriptor, _ path: String) throws(Failure) {
        try Platform.remove(name, at: folder, "a new file for \(path)")
    }

    /// A folder that holds something is not removed. rmdir(2)
    private func removeFolders(_ folders: [String]) {
        for folder in folders.reversed() { rmdir(root + folder) }
    }

    /// Throws unless a file is as it was found, at its own name or another.
    func requireUnchanged(
        _ path: String,
        named name: String? = nil,
        in folder: borrowing Descriptor,
        _ found: FoundFile?
    ) throws(Failure) {
        let now = try read(path, named: name, in: folder)
        let isSame =
            now?.bytes == found?.bytes && now?.status.st_ino == found?.status.st_ino
            && now?.status.st_mode == found?.status.st_mode
        guard isSame else {
            throw Failure("cannot change \(path)", because: "somebody else is changing it", hint: "try again")
        }
    }

    /// Opens the folder of a path, and makes those that are missing if asked to; returns nil if one is missing.
    private func openFolder(
        of path: String,
        creating: Bool,
        _ made: inout [String]
    ) throws(Failure) -> Descriptor? {
        let what = "cannot change \(path)"
        var folder = try Descriptor.open(root.isEmpty ? "/" : root, .directory)
        try require(folder.status("/"), "/", what)
        var place = ""
        for name in path.split(separator: "/").dropLast().map(String.init) {
            let parent = folder.number
            place += "/\(name)"
            let isNew = creating && mkdirat(parent, name, 0o755) == 0
            guard isNew || !creating || errno == EEXIST else { throw Failure(what, call: "mkdirat", code: errno) }
            if isNew {
                made.append(place)
                try folder.synchronize(place)
            }
            do {
                folder = try .open(name, .beneath(O_RDONLY | O_DIRECTORY), at: parent, as: place)
                // The umask has taken the rights of others, who run engines of their own.
                let number = folder.number
                if isNew { try systemCall("fchmod", what) { fchmod(number, 0o755) } }
            } catch let error where error.code == ENOENT {
                return nil
            } catch let error where error.code == ELOOP || error.code == ENOTDIR {
                // O_DIRECTORY comes before O_NOFOLLOW: a link is no directory. open(2)
                throw Self.link(place, what)
            }
            try require(folder.status(place), place, what)
        }
        return folder
    }

    private func require(_ status: stat, _ place: String, _ what: String) throws(Failure) {
        try requireNoOtherWriter(status, place, owners: [owner], what)
    }

    private func attribute(_ name: String, of file: borrowing Descriptor, _ path: String) throws(Failure) -> [UInt8]? {
        var value = [UInt8](repeating: 0, count: 1024)
        let number = file.number
        do {
            let count = try systemCall("fgetxattr \(name)", "cannot read the label of \(path)") {
                fgetxattr(number, name, &value, value.count)
            }
            return Array(value[..<count])
        } catch let error where error.code == ENODATA || error.code == EOPNOTSUPP {
            return nil
        }
    }

    static func name(_ path: String) -> String { path.split(separator: "/").last.map(String.init) ?? "" }

    private static func link(_ place: String, _ what: String) -> Failure {
        Failure(what, because: "\(place) is a symbolic link, or no folder", hint: "put what it leads to in its place")
    }
}
