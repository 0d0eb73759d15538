import CLinux
import Glibc

extension Descriptor {
    /// Opens a regular file; anything else in its place is an error.
    ///
    /// It never waits for a pipe that is in the file's place. open(2), O_NONBLOCK
    public static func openFile(
        _ path: String,
        _ options: OpenOptions,
        at directory: CInt = AT_FDCWD,
        as name: String? = nil
    ) throws(Failure) -> Descriptor {
        let file = try Descriptor.open(path, options.withoutWaiting, at: directory, as: name)
        let name = name ?? path
        guard try file.status(name).st_mode & S_IFMT == S_IFREG else {
            throw Failure("cannot read \(name)", because: "it is no regular file")
        }
        return file
    }

    /// Reads a file from its position to its end.
    ///
    /// - Throws: ``Failure`` if there are more than `limit` bytes, or with ETIMEDOUT if the end has not come by the
    ///   deadline.
    public borrowing func readAll(
        limit: Int,
        _ name: String,
        until deadline: Deadline? = nil
    ) throws(Failure) -> [UInt8] {
        let number = self.number
        let what = "cannot read \(name)"
        var content: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 16384)
        while true {
            if let deadline, try wait(for: number, until: deadline) == 0 {
                throw Failure(what, because: "its end does not come", code: ETIMEDOUT)
            }
            let count = try systemCall("read", what) {
                chunk.withUnsafeMutableBytes { read(number, $0.baseAddress, $0.count) }
            }
            if count == 0 { return content }
            guard content.count + count <= limit else {
                throw Failure(what, because: "it is larger than \(limit) bytes")
            }
            content.append(contentsOf: chunk[..<count])
        }
    }

    /// Writes all bytes, at the file's position.
    public borrowing func writeAll(_ bytes: UnsafeRawBufferPointer, _ name: String) throws(Failure) {
        let number = self.number
        var rest = bytes
        while !rest.isEmpty {
            let count = try writing(name) { write(number, rest.baseAddress, rest.count) }
            rest = UnsafeRawBufferPointer(rebasing: rest[count...])
        }
    }

    /// Writes all bytes of an array, at the file's position.
    public borrowing func writeAll(_ bytes: [UInt8], _ name: String) throws(Failure) {
        let number = self.number
        var offset = 0
        while offset < bytes.count {
            offset += try writing(name) {
                bytes.withUnsafeBytes { write(number, $0.baseAddress.map { $0 + offset }, $0.count - offset) }
            }
        }
    }

    /// Reads `count` bytes from an offset on, or fewer if the file ends before that. pread(2)
    public borrowing func readAll(count: Int, at offset: Int, _ name: String) throws(Failure) -> [UInt8] {
        let number = self.number
        var content = [UInt8](repeating: 0, count: count)
        var filled = 0
        while filled < count {
            let got = try systemCall("pread", "cannot read \(name)") {
                content.withUnsafeMutableBytes {
                    pread(number, $0.baseAddress.map { $0 + filled }, $0.count - filled, off_t(offset + filled))
                }
            }
            if got == 0 { break }
            filled += got
        }
        content.removeLast(count - filled)
        return content
    }

    /// Writes all bytes from an offset on; the file's position stays. pwrite(2)
    public borrowing func writeAll(_ bytes: [UInt8], at offset: Int, _ name: String) throws(Failure) {
        let number = self.number
        var written = 0
        while written < bytes.count {
            written += try writing(name, "pwrite") {
                bytes.withUnsafeBytes {
                    pwrite(number, $0.baseAddress.map { $0 + written }, $0.count - written, off_t(offset + written))
                }
            }
        }
    }

    /// Waits until the data that was written to a file is on stable storage. fdatasync(2)
    public borrowing func synchronizeData(_ name: @autoclosure () -> String) throws(Failure) {
        let number = self.number
        try systemCall("fdatasync", "cannot sync \(name())") { fdatasync(number) }
    }

    private borrowing func writing(
        _ name: String,
        _ call: String = "write",
        _ body: () -> Int
    ) throws(Failure) -> Int {
        do {
            return try systemCall(call, "cannot write \(name)", body)
        } catch let error where error.code == EFBIG {
            throw error.withHint("raise RLIMIT_FSIZE: ulimit -f, or LimitFSIZE= of the engine's service")
        }
    }

    /// Waits until the file's content, or the directory's entries, are on stable storage. fsync(2)
    public borrowing func synchronize(_ name: @autoclosure () -> String) throws(Failure) {
        let number = self.number
        try systemCall("fsync", "cannot sync \(name())") { fsync(number) }
    }
}

/// Opens a directory of our own, and makes it and those above it if they do not exist.
///
/// The path is below `/run` or `/var/lib`. New directories are for the caller alone (0700). The directory must belong
/// to the caller, which is root, and be writable by nobody else.
public func openOwnDirectory(_ path: String) throws(Failure) -> Descriptor {
    var partial = ""
    var refusal: Failure?
    for component in path.split(separator: "/") {
        let parent = partial.isEmpty ? "/" : partial
        partial += "/\(component)"
        if mkdir(partial, 0o700) == 0 {
            // What will be in it is lost with it, if the machine loses power before its name is on disk.
            try Descriptor.open(parent, .directory).synchronize(parent)
            continue
        }
        let code = errno
        if code == EEXIST { continue }
        if code == ENOENT, let refusal { throw refusal }
        let failure = Failure(
            "cannot create \(partial)",
            call: "mkdir",
            code: code,
            hint: code == EROFS ? "mount a writable file system at \(path)" : nil
        )
        // A read-only or foreign parent is no failure when the directory is there; opening it tells.
        guard code == EROFS || code == EACCES else { throw failure }
        refusal = refusal ?? failure
    }
    let directory: Descriptor
    do {
        directory = try .open(path, .directory)
    } catch let error where error.code == ENOENT {
        throw refusal ?? error
    }
    let status = try directory.status(path)
    guard status.st_uid == geteuid(), status.st_mode & 0o022 == 0 else {
        throw Failure(
            "cannot use \(path)",
            because: "another user could change it",
            hint: "chown root: \(path.shellWord) && chmod 0700 \(path.shellWord)"
        )
    }
    return directory
}

/// Removes one entry of a directory; does nothing if there is none.
///
/// The flags are AT_REMOVEDIR for a directory, else 0. unlinkat(2)
public func remove(
    _ name: String,
    at directory: borrowing Descriptor,
    flags: CInt = 0,
    _ what: @autoclosure () -> String
) throws(Failure) {
    let number = directory.number
    do {
        try systemCall("unlink", "cannot remove \(what())") { unlinkat(number, name, flags) }
    } catch let error where error.code == ENOENT {}
}

/// Returns the target of a symbolic link. readlinkat(2)
///
/// - Parameters:
///   - name: The link's name in the directory; empty if the descriptor is the link itself.
///   - directory: The directory, or the link opened with O_PATH.
///   - what: What fails if it cannot be read.
/// - Returns: The target, as the link has it.
/// - Throws: ``Failure`` if it cannot be read.
public func target(
    ofLink name: String,
    at directory: borrowing Descriptor,
    _ what: String
) throws(Failure) -> String {
    var buffer = [CChar](repeating: 0, count: Int(PATH_MAX))
    let number = directory.number
    let count = try systemCall("readlinkat", what) { readlinkat(number, name, &buffer, buffer.count) }
    return String(decoding: buffer[..<count].map { UInt8(truncatingIfNeeded: $0) }, as: UTF8.self)
}

/// Returns the names of a directory's entries without `.` and `..`, in no particular order. readdir(3)
public func entries(of directory: borrowing Descriptor, _ name: String) throws(Failure) -> [String] {
    // A descriptor of its own, since the position in a directory belongs to the open file.
    let copy = try Descriptor.open(".", .directory, at: directory.number, as: name)
    guard let stream = fdopendir(copy.number) else {
        throw Failure("cannot list \(name)", call: "fdopendir", code: errno)
    }
    _ = copy.release()
    defer { closedir(stream) }
    var names: [String] = []
    while true {
        errno = 0
        guard let entry = readdir(stream) else { break }
        let name = withUnsafePointer(to: &entry.pointee.d_name) {
            $0.withMemoryRebound(to: CChar.self, capacity: MemoryLayout.size(ofValue: $0.pointee)) {
                String(cString: $0)
            }
        }
        if name != ".", name != ".." { names.append(name) }
    }
    let code = errno
    guard code == 0 else { throw Failure("cannot list \(name)", call: "readdir", code: code) }
    return names
}
