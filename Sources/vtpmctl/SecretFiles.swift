import ArgumentParser
import CLinux
import Glibc
import Platform

/// What stands for standard input where a file is read, and for standard output where one is made.
private let stream = "-"

/// Standard input can be read once.
func requireOneReader(of paths: [String?]) throws {
    guard paths.filter({ $0 == stream }).count < 2 else {
        throw ValidationError("Only one file can be standard input.")
    }
}

/// How long whoever is at the other end of a pipe may take, in milliseconds: perhaps a person who types.
private let timeout = 300_000

/// Reads a file that may hold a secret; `-` is standard input.
///
/// A pipe, as a shell's `<(...)` is, is waited for, but not without end.
func readSecret(_ path: String, limit: Int) throws(Failure) -> SecretBytes {
    // open(2) itself would wait for a pipe's other end.
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
    // No more locked memory than it takes: the limit of some is megabytes. Files of procfs say that they are empty.
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

/// Reads a passphrase: a file's content without the line feed at its end; `-` is standard input.
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

/// Reads a passphrase that is going to protect something.
///
/// A line ending that belongs to it would have to be typed, or kept in a file, wherever it is needed again.
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

/// Writes a file that nobody else may read and that must not be there yet, onto stable storage; `-` is standard output.
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
