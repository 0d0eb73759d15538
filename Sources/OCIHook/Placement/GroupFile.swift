import CLinux
import Glibc
import Platform

/// A group of the container's own, by its name. group(5)
///
/// The image decides what the file says. That reaches no further than who of the container may use its own TPM.
enum GroupFile {
    private static let path = "etc/group"
    /// The largest file that is read, in bytes.
    static let sizeLimit = 1 << 20

    /// Looks a name up in a container's `/etc/group`.
    ///
    /// The file, or `/etc`, is a link in some images (Nix: into its store; Android: to `/system/etc`). It is followed as the
    /// container would follow it, and never out of its root.
    static func id(of name: String, in root: borrowing ContainerRoot) throws(Failure) -> gid_t {
        let what = "cannot find the group \"\(name)\" in the container's /etc/group"
        let remedy = "give device.group a number"
        do throws(Failure) {
            // First without opening it: to open a device can have an effect, and a pipe can keep one waiting.
            let there = try root.openAsContainer(path, openPathOnly)
            guard try there.status("/etc/group").st_mode & S_IFMT == S_IFREG else {
                throw Failure(what, because: "it is no regular file")
            }
            let file = try root.openAsContainer(path, O_RDONLY | O_NONBLOCK | O_NOCTTY)
            guard try MountIdentity(of: file, "/etc/group") == MountIdentity(of: there, "/etc/group") else {
                throw Failure(what, because: "it has been replaced")
            }
            guard let id = try Self.id(of: name, in: file.readAll(limit: sizeLimit, "the container's /etc/group"))
            else {
                throw Failure(what, because: "it is not there")
            }
            return id
        } catch let error where error.code == ELOOP {
            throw Failure(what, because: "a link on the way leads nowhere", remedy: remedy)
        } catch {
            throw error.helped(by: remedy)
        }
    }

    /// Looks a name up: the first line counts, as for getgrnam(3). `name:password:GID:members`
    static func id(of name: String, in text: [UInt8]) -> gid_t? {
        for line in text.split(separator: UInt8(ascii: "\n")) {
            let fields = line.split(separator: UInt8(ascii: ":"), omittingEmptySubsequences: false)
            guard fields.count >= 3, fields[0].elementsEqual(name.utf8),
                fields[2].allSatisfy((UInt8(ascii: "0")...UInt8(ascii: "9")).contains),
                let id = gid_t(String(decoding: fields[2], as: UTF8.self)), id != .max
            else { continue }
            return id
        }
        return nil
    }
}
