import CLinux
import CryptoDigests
import CryptoPrimitives
import Glibc
import Platform

/// The SHA-256 of files that each creation would otherwise read anew: some ten MB.
///
/// A file is known by its place, its size and the times of its last changes, which no write leaves as they were. Only root can
/// set the clock back; root is who writes the cache. It lies in memory, in a directory of root's, and ends with the boot.
final class DigestCache {
    /// The file in the directory of the leases.
    static let name = ".digests"
    /// How many files it knows at most: those of a few versions of the programs.
    private static let limit = 64
    private static let sizeLimit = 64 * 1024
    private static let object = "the digests of the programs"

    private let file: Descriptor
    private var lines: [String]

    /// Reads what is known, and holds the file's lock from then on.
    init(in runDirectory: borrowing Descriptor) throws(Failure) {
        let lock = try FileLock(Self.name, in: runDirectory, until: Deadline(milliseconds: 10_000), Self.object)
        file = try lock.file.duplicate()
        let text = String(decoding: try file.readAll(count: Self.sizeLimit, at: 0, Self.object), as: UTF8.self)
        // A line that a killed process has written in part knows no file.
        lines = text.split(separator: "\n").map(String.init)
    }

    /// Returns the digest of an open file, named so in errors.
    func digest(of opened: consuming Descriptor, named name: String) throws(Failure) -> [UInt8] {
        let mark = Self.mark(of: try opened.status(name))
        if let line = lines.first(where: { $0.hasPrefix("\(mark) ") }),
            let digest = Hexadecimal.decode(String(line.dropFirst(mark.count + 1))),
            digest.count == DigestAlgorithm.sha256.size
        {
            return digest
        }
        let digest = try Self.digest(opened, name)
        // It may have been written to meanwhile.
        if Self.mark(of: try opened.status(name)) == mark { try add("\(mark) \(Hexadecimal.encode(digest))") }
        return digest
    }

    private func add(_ line: String) throws(Failure) {
        lines = Array((lines + [line]).suffix(Self.limit))
        let text = Array(lines.map { "\($0)\n" }.joined().utf8)
        let number = file.number
        try file.writeAll(text, at: 0, Self.object)
        try systemCall("ftruncate", "cannot write \(Self.object)") { ftruncate(number, text.count) }
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

    private static func mark(of status: stat) -> String {
        func time(_ time: timespec) -> String { "\(time.tv_sec).\(time.tv_nsec)" }
        return "\(status.st_dev):\(status.st_ino):\(status.st_size):\(time(status.st_mtim)):\(time(status.st_ctim))"
    }
}
