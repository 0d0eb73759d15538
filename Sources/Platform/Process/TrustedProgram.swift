import CLinux
import Glibc

/// A program that only root or the caller can change or exchange: anybody else could decide what it prints.
///
/// All directories of its path are checked, including those of symbolic links. A directory with the sticky bit may be
/// writable: others can create entries there, but cannot remove those of other users (inode(7)).
package struct TrustedProgram {
    /// The absolute path.
    let path: String
    /// The start of every error.
    let what: String
    /// Whether a directory with the sticky bit may be writable for others.
    let allowsSticky: Bool

    /// The most symbolic links to follow, the kernel's own limit. path_resolution(7)
    private static let linkLimit = 40

    /// Creates the check of the program with this path; each error begins with `what`.
    package init(path: String, what: String, allowsSticky: Bool = true) {
        self.path = path
        self.what = what
        self.allowsSticky = allowsSticky
    }

    /// Throws if another user could change or exchange the program; the error names the place.
    package func check() throws(Failure) {
        var directory = try Descriptor.open("/", OpenOptions(openPathOnly | O_DIRECTORY))
        var place = ""
        try require(directory.status("/"), "/")
        var rest = Array(path.split(separator: "/").reversed())
        var links = 0
        while let name = rest.popLast().map(String.init) {
            let entryPath = "\(place)/\(name)"
            let entry = try Descriptor.open(
                name,
                OpenOptions(openPathOnly | O_NOFOLLOW),
                at: directory.number,
                as: entryPath
            )
            let status = try entry.status(entryPath)
            try require(status, entryPath)
            switch status.st_mode & S_IFMT {
            case S_IFLNK:
                links += 1
                guard links <= Self.linkLimit else { throw Failure(what, call: "open", code: ELOOP) }
                let target = try Platform.target(ofLink: "", at: entry, "cannot read the link \(entryPath)")
                rest += target.split(separator: "/").reversed()
                guard target.hasPrefix("/") else { continue }
                directory = try .open("/", OpenOptions(openPathOnly | O_DIRECTORY))
                place = ""
            case S_IFDIR:
                directory = entry
                place = entryPath
            default:
                guard rest.isEmpty else { throw Failure(what, because: "\(entryPath) is no directory") }
                guard status.st_mode & S_IFMT == S_IFREG else {
                    throw Failure(what, because: "\(entryPath) is no regular file")
                }
                return
            }
        }
        throw Failure(what, because: "\(path) is a directory")
    }

    private func require(_ status: stat, _ place: String) throws(Failure) {
        var status = status
        // The kernel ignores the mode of a symbolic link. symlink(7)
        let kind = status.st_mode & S_IFMT
        let isSticky = allowsSticky && kind == S_IFDIR && status.st_mode & S_ISVTX != 0
        if kind == S_IFLNK || isSticky { status.st_mode &= ~0o022 }
        try requireNoOtherWriter(status, place, what, "the program")
    }
}
