import ArgumentParser
import CLinux
import Glibc
import Platform

/// The path that stands for standard input when reading, and for standard output when writing.
private let stream = "-"

/// Throws if more than one of the paths is standard input, which can be read only once.
func requireOneReader(of paths: [String?]) throws {
    guard paths.filter({ $0 == stream }).count < 2 else {
        throw ValidationError("Only one file can be standard input.")
    }
}

/// The timeout for reading a file, in milliseconds; the writer of a pipe may be a person who types.
private let timeout = 300_000

/// Reads a file that may hold a secret; `-` is standard input.
///
/// It waits up to 300 s for a pipe, such as a shell's `<(...)`.
///
/// - Throws: ``Failure`` if the file is larger than the limit, in bytes, or is not complete in time.
func readSecret(_ path: String, limit: Int) throws(Failure) -> SecretBytes {
    // Without O_NONBLOCK, open(2) would wait for the writer of a FIFO without a limit.
    let file =
        path == stream
        ? Descriptor(
            owning: try systemCall("fcntl F_DUPFD_CLOEXEC", "cannot read standard input") {
                fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3)
            }
        )
        : try Descriptor.open(path, OpenOptions(O_RDONLY | O_NONBLOCK | O_NOCTTY))
    let name = path == stream ? "standard input" : path
    let status = try file.status(name)
    // Locked memory is scarce: some have a limit of a few megabytes. Files of procfs have a size of 0.
    let hasSize = status.st_mode & S_IFMT == S_IFREG && status.st_size > 0
    let content = try SecretBytes(capacity: hasSize ? min(Int(status.st_size), limit) + 1 : limit + 1)
    let number = file.number
    let deadline = Deadline(milliseconds: timeout)
    while content.count < content.capacity {
        guard try wait(for: number, until: deadline) != 0 else {
            let seconds = timeout / 1000
            throw Failure("cannot read \(name)", because: "nobody writes to it, or closes it, within \(seconds) s")
        }
        let count = try systemCall("read", "cannot read \(name)") {
            content.append { read(number, $0.baseAddress, $0.count) }
        }
        if count == 0 { break }
    }
    guard content.count <= limit else {
        throw Failure("cannot read \(name)", because: "it is larger than \(limit) bytes")
    }
    guard content.count < content.capacity else { throw Failure("cannot read \(name)", because: "it is being written") }
    return content
}

/// Reads a passphrase, a file's content without one line feed at its end; `-` is standard input.
func readPassphrase(_ path: String) throws(Failure) -> SecretBytes {
    let content = try readSecret(path, limit: 4096)
    let passphrase = try SecretBytes(capacity: max(content.count, 1))
    content.withBytes { bytes in
        let end = bytes.last == UInt8(ascii: "\n") ? bytes.count - 1 : bytes.count
        _ = passphrase.append(copying: UnsafeRawBufferPointer(rebasing: bytes[..<end]))
    }
    guard passphrase.count > 0 else { throw Failure("cannot use the passphrase in \(path)", because: "it is empty") }
    return passphrase
}

/// Reads a passphrase for a new export; throws if it ends in a carriage return or line feed.
///
/// A line ending that belongs to the passphrase would have to be typed, or kept in a file, wherever it is needed again.
func readNewPassphrase(_ path: String) throws(Failure) -> SecretBytes {
    let passphrase = try readPassphrase(path)
    let last = passphrase.withBytes { $0.last }
    guard last != UInt8(ascii: "\r"), last != UInt8(ascii: "\n") else {
        throw Failure(
            "cannot use the passphrase in \(path)",
            because: last == UInt8(ascii: "\r")
                ? "it ends in a carriage return, as files of Windows do" : "several line feeds follow it",
            hint: "end it with one line feed, or with none"
        )
    }
    return passphrase
}

/// Creates a file with the mode 0600 and syncs it and its directory; `-` is standard output.
///
/// - Throws: ``Failure`` if the file already exists, or cannot be written. An incomplete file is removed.
func writeNew(_ path: String, _ content: SecretBytes) throws(Failure) {
    if path == stream { return try Output.write(content) }
    let options = OpenOptions(O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, mode: 0o600)
    let file = try Descriptor.open(path, options)
    do {
        try content.withBytes { (bytes) throws(Failure) in try file.writeAll(bytes, path) }
        try file.synchronize(path)
        let parent = path.lastIndex(of: "/").map { $0 == path.startIndex ? "/" : String(path[..<$0]) } ?? "."
        try Descriptor.open(parent, .directory).synchronize(parent)
    } catch {
        unlink(path)
        throw error
    }
}
