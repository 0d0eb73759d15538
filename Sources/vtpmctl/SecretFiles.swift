import Glibc
import Platform

/// Reads a file that may hold a secret; `-` is standard input.
func readSecret(_ path: String, limit: Int) throws(Failure) -> SecretBytes {
    let content = try SecretBytes(capacity: limit + 1)
    func read(_ number: CInt) throws(Failure) {
        while content.count < content.capacity,
            try systemCall(
                "read",
                "cannot read \(path)",
                { content.append { Glibc.read(number, $0.baseAddress, $0.count) } }
            ) > 0
        {}
    }
    if path == "-" {
        try read(STDIN_FILENO)
    } else {
        let file = try Descriptor.open(path, .read)
        try read(file.number)
    }
    guard content.count <= limit else {
        throw Failure("cannot read \(path)", because: "it is larger than \(limit) bytes")
    }
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

/// Writes a file that nobody else may read and that must not be there yet, onto stable storage.
func writeNew(_ path: String, _ content: SecretBytes) throws(Failure) {
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
