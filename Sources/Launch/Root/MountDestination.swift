import CLinux
import Glibc
import Platform

/// Where a mount of a container goes: the path in its root file system to which the links of that lead.
///
/// The runtimes resolve a destination in the root in the same way, and make what is missing.
enum MountDestination {
    /// How many links are followed. linux: MAXSYMLINKS
    private static let linkLimit = 40
    private static let what = "cannot measure the container's root file system"

    /// Returns the components of the path.
    ///
    /// What is missing is taken as it is written.
    ///
    /// - Throws: ``Failure`` if the path is as long as none can be, or if there are too many links.
    static func resolve(_ destination: String, in root: borrowing Descriptor) throws(Failure) -> [[UInt8]] {
        guard destination.utf8.count < Int(PATH_MAX) else {
            throw Failure(
                what,
                because: "the destination \(destination.excerpt) of a mount is longer than a path can be"
            )
        }
        var rest = components(Array(destination.utf8))
        var resolved: [[UInt8]] = []
        var links = 0
        while !rest.isEmpty {
            let next = rest.removeFirst()
            if next == Array("..".utf8) {
                _ = resolved.popLast()
                continue
            }
            resolved.append(next)
            guard let target = try target(ofLinkAt: resolved, in: root) else { continue }
            links += 1
            guard links <= linkLimit else {
                throw Failure(
                    what,
                    because: "there are too many links at the destination \(destination.excerpt) of a mount"
                )
            }
            resolved = target.first == UInt8(ascii: "/") ? [] : resolved.dropLast()
            rest = components(target) + rest
        }
        return resolved
    }

    private static func components(_ path: [UInt8]) -> [[UInt8]] {
        path.split(separator: UInt8(ascii: "/")).map { Array($0) }.filter { $0 != Array(".".utf8) }
    }

    /// Returns the target of a link; nil if there is something else, or nothing.
    private static func target(ofLinkAt path: [[UInt8]], in root: borrowing Descriptor) throws(Failure) -> [UInt8]? {
        let number = root.number
        let text = Array(path.joined(separator: [UInt8(ascii: "/")])).map { CChar(bitPattern: $0) } + [0]
        var buffer = [CChar](repeating: 0, count: Int(PATH_MAX))
        do {
            // All on the way is resolved, so that no link but the last is met.
            let count = try systemCall("readlinkat", what) { readlinkat(number, text, &buffer, buffer.count) }
            return buffer[..<count].map { UInt8(bitPattern: $0) }
        } catch let error where [EINVAL, ENOENT, ENOTDIR, ENAMETOOLONG].contains(error.code) {
            return nil
        }
    }
}
