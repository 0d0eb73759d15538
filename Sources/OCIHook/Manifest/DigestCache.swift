import CLinux
import CryptoDigests
import CryptoPrimitives
import Glibc
import Platform

/// The SHA-256 of files that each creation would otherwise read anew: some ten MB.
///
/// A file is known by its place, its size and the times of its last changes, which no write leaves as they were. Only root can set
/// the clock back, and root is who writes the cache. What is on a file system that is read-only is not kept: an image can be replaced
/// by another with the same times. The cache lies in memory, in a directory of root's, and ends with the boot.
final class DigestCache {
    /// The file in the directory of the leases.
    static let name = ".digests"
    /// How many files it knows at most: those of a few versions of the programs.
    private static let limit = 64
    private static let sizeLimit = 64 * 1024
    /// How long to wait for another hook that reads a file, in milliseconds.
    private static let timeout = 1000
    private static let object = "the digests of the programs"

    /// The file, with its lock; nil if it cannot be had, so that each digest is computed.
    private let file: Descriptor?
    private var lines: [String] = []

    /// Reads what is known, and holds the file's lock from then on.
    init(in runDirectory: borrowing Descriptor) {
        do throws(Failure) {
            let lock = try FileLock(
                Self.name,
                in: runDirectory,
                until: Deadline(milliseconds: Self.timeout),
                Self.object
            )
            let opened = try lock.file.duplicate()
            let text = try opened.readAll(count: Self.sizeLimit, at: 0, Self.object)
            lines = String(decoding: text, as: UTF8.self).split(separator: "\n").map(String.init)
            file = consume opened
        } catch {
            file = nil
        }
    }

    /// Returns the digest of an open file, named so in errors.
    func digest(of opened: consuming Descriptor, named name: String) throws(Failure) -> [UInt8] {
        let mark = Self.mark(of: try opened.status(name))
        for line in lines where line.hasPrefix("\(mark) ") {
            if let digest = try Self.digest(in: line, of: mark) { return digest }
        }
        let digest = try Self.digest(opened, name)
        // It may have been written to meanwhile.
        let isReadOnly = (try? opened.isOnReadOnlyFileSystem(name)) ?? true
        guard !isReadOnly, Self.mark(of: try opened.status(name)) == mark else { return digest }
        // Without a cache there is only more to do.
        try? keep(Self.line(mark, digest))
        return digest
    }

    private func keep(_ line: String) throws(Failure) {
        lines = Array((lines + [line]).suffix(Self.limit))
        let text = Array(lines.map { "\($0)\n" }.joined().utf8)
        switch file {
        case .none: return
        case .some(let file):
            let number = file.number
            try file.writeAll(text, at: 0, Self.object)
            try systemCall("ftruncate", "cannot write \(Self.object)") { ftruncate(number, text.count) }
        }
    }

    // MARK: - Lines

    /// A mark, the digest, and a check of both: a process that was killed while it wrote may have left a part of one line before a
    /// part of another.
    private static func line(_ mark: String, _ digest: [UInt8]) throws(Failure) -> String {
        let text = "\(mark) \(Hexadecimal.encode(digest))"
        return "\(text) \(Hexadecimal.encode(try DigestAlgorithm.sha256.digest(Array(text.utf8)).prefix(8)))"
    }

    private static func digest(in line: String, of mark: String) throws(Failure) -> [UInt8]? {
        let parts = line.split(separator: " ", omittingEmptySubsequences: false)
        guard parts.count == 3, let digest = Hexadecimal.decode(String(parts[1])),
            digest.count == DigestAlgorithm.sha256.size, try Self.line(mark, digest) == line
        else { return nil }
        return digest
    }

    private static func mark(of status: stat) -> String {
        func time(_ time: timespec) -> String { "\(time.tv_sec).\(time.tv_nsec)" }
        return
            "\(status.st_dev):\(status.st_ino):\(status.st_size):\(time(status.st_mtim)):\(time(status.st_ctim))"
    }

    private static func digest(_ file: borrowing Descriptor, _ name: String) throws(Failure) -> [UInt8] {
        let digest = try RunningDigest(.sha256)
        let size = 1 << 18
        var offset = 0
        while true {
            let part = try file.readAll(count: size, at: offset, name)
            try digest.add(part)
            offset += part.count
            if part.count < size { return try digest.end() }
        }
    }
}

extension Descriptor {
    /// Returns whether nobody can write to the file's file system by this mount. fstatvfs(3)
    fileprivate borrowing func isOnReadOnlyFileSystem(_ name: String) throws(Failure) -> Bool {
        var status = statvfs()
        let number = self.number
        try systemCall("fstatvfs", "cannot examine the file system of \(name)") { fstatvfs(number, &status) }
        return status.f_flag & UInt(ST_RDONLY) != 0
    }
}
