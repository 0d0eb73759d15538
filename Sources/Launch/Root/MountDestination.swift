import CLinux
import Glibc
import JSONText
import Platform

/// A mount of a container, as far as it decides what of the root file system is seen.
struct MountDestination {
    /// The path that the configuration gives it.
    let path: String
    /// Whether a link at the path itself is followed.
    let followsLast: Bool

    /// Takes over an element of `mounts`; returns nil for one that covers nothing.
    ///
    /// crun(1): with `tmpcopyup` a mount begins with a copy of what the image has there, with `copy-symlink` it is no mount if
    /// its source is a link.
    init?(_ mount: JSONValue) {
        let options = (mount["options"]?.elements ?? []).compactMap(\.string)
        guard let path = mount["destination"]?.string,
            !options.contains(where: { $0.isSame(as: "tmpcopyup") || $0.isSame(as: "copy-symlink") })
        else { return nil }
        self.init(path, followsLast: !options.contains { $0.isSame(as: "dest-nofollow") })
    }

    init(_ path: String, followsLast: Bool = true) {
        self.path = path
        self.followsLast = followsLast
    }

    /// How many links are followed. linux: MAXSYMLINKS
    private static let linkLimit = 40
    private static let what = "cannot measure the container's root file system"

    /// Returns the components of the paths to which mounts go, in their order: where the links of the root lead.
    ///
    /// The runtimes resolve a destination in the root in the same way, and make what is missing. What lies below an earlier
    /// destination is that mount's, so that no link of the root is met there.
    static func resolve(_ mounts: [MountDestination], in root: borrowing Descriptor) throws(Failure) -> [[[UInt8]]] {
        var resolved: [[[UInt8]]] = []
        var covered: Set<[UInt8]> = []
        for mount in mounts {
            let path = try mount.resolve(in: root, below: covered)
            resolved.append(path)
            covered.insert(joined(path))
        }
        return resolved
    }

    static func joined(_ path: some Sequence<[UInt8]>) -> [UInt8] {
        Array(path.joined(separator: [UInt8(ascii: "/")]))
    }

    private func resolve(in root: borrowing Descriptor, below covered: Set<[UInt8]>) throws(Failure) -> [[UInt8]] {
        guard path.utf8.count < Int(PATH_MAX) else {
            throw Failure(Self.what, because: "the destination \(path.excerpt) of a mount is longer than a path can be")
        }
        var rest = Self.components(Array(path.utf8))
        var resolved: [[UInt8]] = []
        var links = 0
        while !rest.isEmpty {
            let next = rest.removeFirst()
            if next == Array("..".utf8) {
                _ = resolved.popLast()
                continue
            }
            resolved.append(next)
            let isCovered = resolved.indices.contains { covered.contains(Self.joined(resolved[...$0])) }
            guard !isCovered, followsLast || !rest.isEmpty else { continue }
            guard let target = try Self.target(ofLinkAt: resolved, in: root) else { continue }
            links += 1
            guard links <= Self.linkLimit else {
                throw Failure(
                    Self.what,
                    because: "there are too many links at the destination \(path.excerpt) of a mount"
                )
            }
            resolved = target.first == UInt8(ascii: "/") ? [] : resolved.dropLast()
            rest = Self.components(target) + rest
        }
        return resolved
    }

    private static func components(_ path: [UInt8]) -> [[UInt8]] {
        path.split(separator: UInt8(ascii: "/")).map { Array($0) }.filter { $0 != Array(".".utf8) }
    }

    /// Returns the target of a link; nil if there is something else, or nothing.
    private static func target(ofLinkAt path: [[UInt8]], in root: borrowing Descriptor) throws(Failure) -> [UInt8]? {
        let number = root.number
        let text = joined(path).map { CChar(bitPattern: $0) } + [0]
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
