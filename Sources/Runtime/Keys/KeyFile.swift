import CLinux
import Crypto
import Glibc
import Platform
import RuntimeState

/// A file with a master key, a sealed one or the certificate authority's, which only its owner can read and which is never overwritten in place.
struct KeyFile {
    /// The absolute path.
    let path: String
    let disk: any Disk
    /// What it is, for errors.
    var name = "the master key"

    /// The largest file that is read, in bytes.
    static let sizeLimit = 512 * 1024

    private var what: String { "cannot load \(name) \(path)" }

    /// Reads the contents; returns nil if there is no such file.
    func read() throws(Failure) -> SecretBytes? {
        let file: Descriptor
        do {
            // O_NONBLOCK: opening a FIFO at this path would wait for a writer. fifo(7)
            file = try .open(path, OpenOptions(O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY), as: path)
        } catch let error where error.code == ENOENT {
            return nil
        } catch let error where error.code == ELOOP {
            throw Failure(what, because: "it is a symbolic link", hint: "name the file that it leads to")
        } catch let error where error.code == ENXIO {
            throw Failure(what, because: "it is no regular file")
        }
        let status = try file.status(path)
        try check(status)
        guard status.st_size <= Self.sizeLimit else {
            throw Failure(what, because: "it is larger than \(Self.sizeLimit) bytes")
        }
        let content = try SecretBytes(capacity: Int(status.st_size) + 1)
        let number = file.number
        while content.count < content.capacity,
            try systemCall("read", what, { content.append { Glibc.read(number, $0.baseAddress, $0.count) } }) > 0
        {}
        return content
    }

    /// Returns when its content was written, in seconds since 1970; nil if there is no such file.
    func timeOfChange() throws(Failure) -> UInt64? {
        do {
            let file = try Descriptor.open(path, OpenOptions(openPathOnly | O_NOFOLLOW), as: path)
            return UInt64(clamping: try file.status(path).st_mtim.tv_sec)
        } catch let error where error.code == ENOENT {
            return nil
        }
    }

    /// Throws if it is not a regular file, belongs to another user, or has a mode that admits others.
    private func check(_ status: stat) throws(Failure) {
        guard status.st_mode & S_IFMT != S_IFDIR else { throw Failure(what, because: "it is a directory") }
        guard status.st_mode & S_IFMT == S_IFREG else { throw Failure(what, because: "it is no regular file") }
        guard status.st_uid == geteuid() else {
            throw Failure(
                what,
                because: "it belongs to user \(status.st_uid), who may read and change it",
                hint: "chown \(geteuid()) \(path.shellWord) && chmod 0600 \(path.shellWord)"
            )
        }
        guard status.st_mode & 0o077 == 0 else {
            let mode = String(status.st_mode & 0o7777, radix: 8)
            throw Failure(
                what,
                because: "others may read or change it: its mode is 0\(mode)",
                hint: "chmod 0600 \(path.shellWord)"
            )
        }
    }

    /// Creates the file; returns false if it exists already.
    ///
    /// Writes a temporary file and links it to the name. Nobody sees a half-written file, and no other is replaced. If
    /// another process was faster, its file counts.
    func create(_ content: SecretBytes) throws(Failure) -> Bool {
        let directory = try openOwnDirectory(parent)
        let temporary = try write(content, in: directory)
        var isMade = true
        do {
            try disk.link(temporary, in: directory, as: fileName, path: path)
        } catch let error where error.code == EEXIST {
            isMade = false
        } catch {
            try? disk.removeFile(temporary, in: directory, as: path)
            throw error
        }
        try disk.removeFile(temporary, in: directory, as: path)
        try disk.synchronize(directory, as: path)
        return isMade
    }

    /// Replaces the file; keeps an existing one under another name, as ``putAside()`` does.
    func overwrite(_ content: SecretBytes) throws(Failure) {
        let directory = try openOwnDirectory(parent)
        let temporary = try write(content, in: directory)
        do {
            try putAside(in: directory)
            try disk.rename(temporary, in: directory, to: fileName, in: directory, as: path)
        } catch {
            try? disk.removeFile(temporary, in: directory, as: path)
            throw error
        }
        try disk.synchronize(directory, as: path)
    }

    /// Replaces the file, of which nothing stays.
    func supersede(_ content: SecretBytes) throws(Failure) {
        let directory = try openOwnDirectory(parent)
        let temporary = try write(content, in: directory)
        do {
            try disk.rename(temporary, in: directory, to: fileName, in: directory, as: path)
        } catch {
            try? disk.removeFile(temporary, in: directory, as: path)
            throw error
        }
        try disk.synchronize(directory, as: path)
    }

    /// Writes and syncs a temporary file; returns its name.
    private func write(_ content: SecretBytes, in directory: borrowing Descriptor) throws(Failure) -> String {
        let temporary = "\(fileName).\(Hexadecimal.encode(try Random.bytes(count: 8)))"
        do {
            let file = try disk.create(temporary, in: directory, as: path)
            try content.withBytes { (bytes) throws(Failure) in try disk.write(bytes, to: file, as: path) }
            try disk.synchronize(file, as: path)
        } catch {
            try? disk.removeFile(temporary, in: directory, as: path)
            throw error
        }
        return temporary
    }

    /// Renames the file, if it exists, to a name that is never read: `NAME.replaced-` and 8 hexadecimal digits.
    func putAside() throws(Failure) {
        let directory = try openOwnDirectory(parent)
        try putAside(in: directory)
        try disk.synchronize(directory, as: path)
    }

    private func putAside(in directory: borrowing Descriptor) throws(Failure) {
        guard faccessat(directory.number, fileName, F_OK, 0) == 0 else { return }
        let aside = "\(fileName).replaced-\(Hexadecimal.encode(try Random.bytes(count: 4)))"
        try disk.rename(fileName, in: directory, to: aside, in: directory, as: path)
    }

    /// Removes temporary files of processes that were killed while they created the file: each holds a key.
    ///
    /// Call it only while no process creates the file.
    func sweep() throws(Failure) {
        let directory = try openOwnDirectory(parent)
        for entry in try entries(of: directory, parent) where entry.hasPrefix("\(fileName).") {
            let rest = entry.dropFirst(fileName.count + 1)
            guard rest.count == 16, rest.utf8.allSatisfy({ "0123456789abcdef".utf8.contains($0) }) else { continue }
            do throws(Failure) {
                try disk.removeFile(entry, in: directory, as: "\(parent)/\(entry)")
            } catch let error where error.code == EISDIR || error.code == EPERM {
                // A directory is not a temporary file of ours, and does no harm.
                Log.error("\(error)")
            }
        }
    }

    /// Syncs the directory: the process that created the file may have been killed before it did so. fsync(2)
    func synchronize() throws(Failure) {
        try disk.synchronize(openOwnDirectory(parent), as: parent)
    }

    /// Renames the file over another one in the same directory.
    func replace(_ other: KeyFile) throws(Failure) {
        let directory = try openOwnDirectory(parent)
        try disk.rename(fileName, in: directory, to: other.fileName, in: directory, as: other.path)
        try disk.synchronize(directory, as: other.path)
    }

    private var fileName: String { String(path[path.index(after: path.lastIndex(of: "/") ?? path.startIndex)...]) }

    private var parent: String {
        let parent = path[..<(path.lastIndex(of: "/") ?? path.startIndex)]
        return parent.isEmpty ? "/" : String(parent)
    }
}
