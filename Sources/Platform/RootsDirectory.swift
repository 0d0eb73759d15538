import CLinux
import Glibc

/// Throws unless a path leads to a directory without any link, and only root or the caller can change where it leads.
///
/// The directory and all those on the way to it belong to root or the caller, and nobody else can write them. A sticky
/// bit does not help: in such a directory others can make what root has not made yet. inode(7)
///
/// - Parameters:
///   - path: The absolute path, without `.` and `..`.
///   - top: The directory at which the path begins, `/` but for tests; it is checked too.
///   - what: The start of every error.
/// - Throws: ``Failure`` that names the first place that is not so.
public func requireRootsDirectory(_ path: String, below top: String = "/", _ what: String) throws(Failure) {
    let names = path.utf8.split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false).map { String($0) }
    let isPlain = names.count > 1 && names[0] == "" && !path.utf8.contains(0)
    guard isPlain, !names.dropFirst().contains(where: { ["", ".", ".."].contains($0) }) else {
        throw Failure(what, because: "\(path.excerpt) is not a plain absolute path")
    }
    var directory = try Descriptor.open(top, OpenOptions(openPathOnly | O_DIRECTORY))
    try requireRoots(directory.status(top), top, what)
    var place = top == "/" ? "" : top
    for name in names.dropFirst().compactMap({ $0 }) {
        place += "/\(name)"
        // A link is opened itself, and refused below. open(2), O_PATH
        let entry = try Descriptor.open(
            name,
            OpenOptions(openPathOnly | O_NOFOLLOW),
            at: directory.number,
            as: place
        )
        try requireRoots(entry.status(place), place, what)
        directory = entry
    }
}

/// Throws unless this is a directory of root's, or of the caller's, that nobody else can write.
private func requireRoots(_ status: stat, _ place: String, _ what: String) throws(Failure) {
    switch status.st_mode & S_IFMT {
    case S_IFDIR: break
    case S_IFLNK: throw Failure(what, because: "\(place.excerpt) is a symbolic link")
    default: throw Failure(what, because: "\(place.excerpt) is no directory")
    }
    try requireNoOtherWriter(status, place.excerpt, what)
}
