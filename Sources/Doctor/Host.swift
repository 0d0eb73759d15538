import CLinux
import Glibc
import OCIHook
import Platform
import RuntimeControl
import Systemd

/// The host that is examined: its files below a root folder, and what no file tells.
///
/// Tests make a host from a folder of text files. What text files cannot show has a function here, which they replace.
public struct Host {
    /// What precedes every path: empty on the real host.
    var root = ""
    /// The user who must own what is root's.
    var owner: uid_t = 0
    /// The effective user of this process.
    var user = geteuid()
    /// The paths of this project's own files; they include ``root``.
    public var paths: HostPaths
    /// The path that `--config` names; nil for the standard file.
    public var configurationPath: String?
    /// systemd's directory of credentials; nil if this process has none.
    public var credentialsDirectory: String?
    /// Returns what a program of the host prints, by its path and its arguments.
    public var output: (_ program: String, _ arguments: [String]) throws(Failure) -> String
    /// Returns the properties of the file system that a path is on.
    var fileSystem: (_ path: String) throws(Failure) -> FileSystem = { (path) throws(Failure) in
        try FileSystem(of: path)
    }
    /// Returns the number of a character device; nil if the path is another kind of file.
    var device: (_ path: String) throws(Failure) -> DeviceNumber? = { (path) throws(Failure) in
        let status = try Descriptor.open(path, OpenOptions(openPathOnly)).status(path)
        return status.st_mode & S_IFMT == S_IFCHR ? DeviceNumber(status.st_rdev) : nil
    }
    /// Returns the SELinux policy in force; nil if there is none.
    var selinux: () throws(Failure) -> SELinuxPolicy? = { () throws(Failure) in try SELinuxPolicy.current(Procfs()) }
    /// Returns the version of the host's systemd, which is asked for it.
    var systemdVersion: () throws(Failure) -> String
    /// The clock: the seconds since 1970, and whether something keeps it right.
    var clock: () -> (seconds: Int, isSynchronized: Bool) = {
        var state = timex()
        // Without a mode it only reads. adjtimex(2)
        let isSynchronized = adjtimex(&state) >= 0 && state.status & STA_UNSYNC == 0
        return (time(nil), isSynchronized)
    }

    /// Creates the host that this process runs on.
    public init(
        _ paths: HostPaths,
        output: @escaping (_ program: String, _ arguments: [String]) throws(Failure) -> String
    ) {
        self.paths = paths
        self.output = output
        systemdVersion = { () throws(Failure) in
            let client = try SystemdClient(program: paths.program("vtpm-systemd"))
            defer { client.end() }
            return try client.version()
        }
    }
}

// Files.
extension Host {
    /// Reads a file as text; returns nil if there is none.
    func text(_ path: String) throws(Failure) -> String? {
        try bytes(path).map { String(decoding: $0, as: UTF8.self) }
    }

    /// Reads a file; returns nil if there is none.
    func bytes(_ path: String) throws(Failure) -> [UInt8]? {
        try nilIfMissing { () throws(Failure) in
            try Descriptor.openFile(root + path, .read, as: path).readAll(limit: 16 << 20, path)
        }
    }

    /// Reads the first line of a file, without blanks around it; returns nil if there is no such file.
    func line(_ path: String) throws(Failure) -> String? {
        try text(path).map { text in
            text.split(separator: "\n", omittingEmptySubsequences: false).first.map { $0.trimmed } ?? ""
        }
    }

    /// Returns the names in a directory, in ascending order; none if there is no such directory.
    func names(_ path: String) throws(Failure) -> [String] {
        try nilIfMissing { () throws(Failure) in
            try entries(of: .open(root + path, .directory, as: path), path).sorted()
        } ?? []
    }

    /// Returns the paths of the files with one of these endings in several directories, in the order of these.
    func files(in directories: [String], ending suffixes: String...) throws(Failure) -> [String] {
        var found: [String] = []
        for directory in directories {
            for name in try names(directory) where suffixes.contains(where: name.hasSuffix) {
                found.append("\(directory)/\(name)")
            }
        }
        return found
    }

    /// Returns the status of a file, or of what a link leads to; nil if there is none.
    func status(_ path: String) throws(Failure) -> stat? {
        try nilIfMissing { () throws(Failure) in
            try Descriptor.open(root + path, OpenOptions(openPathOnly), as: path).status(path)
        }
    }

    /// Returns whether a path leads to something.
    func exists(_ path: String) -> Bool { access(root + path, F_OK) == 0 }

    /// Returns the path of a program, as root's search path leads to it; nil if it is not installed.
    func program(_ name: String) -> String? {
        ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"]
            .map { "\($0)/\(name)" }
            .first { access(root + $0, X_OK) == 0 }
    }

    /// Returns a path of ours as the host's own programs know it: without ``root``.
    func withoutRoot(_ path: String) -> String { path.hasPrefix(root) ? String(path.dropFirst(root.count)) : path }

    private func nilIfMissing<Value>(_ body: () throws(Failure) -> Value) throws(Failure) -> Value? {
        do {
            return try body()
        } catch let error where error.code == ENOENT || error.code == ENOTDIR {
            return nil
        }
    }
}

/// The properties of a file system that matter to what we write there. statfs(2)
struct FileSystem: Equatable, Sendable {
    /// The magic number of its type. linux/magic.h
    var type: Int
    var isReadOnly: Bool
    /// The bytes that root can still use.
    var free: UInt64
    /// The files that can still be made; nil if the file system has no limit.
    var freeFiles: UInt64?

    /// Whether it is in memory, and gone after a reboot: tmpfs or ramfs.
    var isInMemory: Bool { type == 0x0102_1994 || type == 0x8584_58f6 }
}

extension FileSystem {
    init(of path: String) throws(Failure) {
        var status = statfs()
        try systemCall("statfs", "cannot examine the file system of \(path)") { statfs(path, &status) }
        type = Int(status.f_type)
        isReadOnly = Int(status.f_flags) & clinux_st_rdonly != 0
        free = UInt64(status.f_bfree) * UInt64(status.f_bsize)
        freeFiles = status.f_files == 0 ? nil : UInt64(status.f_ffree)
    }
}

extension StringProtocol {
    /// The text without blanks and tabs around it.
    var trimmed: String {
        var rest = self[...]
        while let first = rest.first, first == " " || first == "\t" || first == "\r" { rest = rest.dropFirst() }
        while let last = rest.last, last == " " || last == "\t" || last == "\r" { rest = rest.dropLast() }
        return String(rest)
    }
}
