import CLinux
import Glibc
import Platform

/// The event log of a launch, as a file that is mounted read-only in a container's `/dev`.
///
/// The kernel shows the log of a host's TPM in securityfs, of which a container sees nothing.
struct LaunchLogFile: ~Copyable {
    /// The name of the file in the container's `/dev`.
    static let name = "launch.eventlog"

    /// The detached mount; nil if there is no log.
    private let file: Descriptor?

    private static let what = "cannot make the launch log's file"

    /// Makes the file in the current mount namespace, which must be the hook's own, on a tmpfs that nobody can write any more.
    ///
    /// - Parameters:
    ///   - log: The contents; nil if there is no log.
    ///   - label: SELinux's label for the file; nil to leave the policy's.
    ///   - path: A directory to mount the tmpfs on.
    /// - Throws: ``Failure`` if a call fails.
    init(_ log: [UInt8]?, label: String?, mountedOn path: String) throws(Failure) {
        guard let log else {
            file = nil
            return
        }
        file = try Self.make(log, label, path)
    }

    private static func make(_ log: [UInt8], _ label: String?, _ path: String) throws(Failure) -> Descriptor {
        let tmpfs = try DetachedMount.tmpfs(
            [("mode", "0755"), ("size", "\(log.count)"), ("nr_inodes", "2")],
            label: label.map { ($0, "cannot label the launch log \($0)") },
            attributes: clinux_mount_attr_nosuid | clinux_mount_attr_noexec | clinux_mount_attr_nodev,
            what
        )
        try DetachedMount.attach(tmpfs, to: .open(path, .directory), what)
        let parent = tmpfs.number
        let options = OpenOptions.beneath(O_WRONLY | O_CREAT | O_EXCL, mode: 0o444)
        do {
            let file = try Descriptor.open(name, options, at: parent, as: name)
            let number = file.number
            try file.writeAll(log, name)
            // The umask may have cleared bits.
            try systemCall("fchmod", what) { fchmod(number, 0o444) }
        }
        // The whole file system and not this mount alone, or whoever can mount could make it writable for himself.
        let flags = MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NOEXEC | MS_NODEV
        try systemCall("mount MS_REMOUNT", what) { mount(nil, path, nil, UInt(flags), nil) }
        return try DetachedMount.clone(name, at: tmpfs, what)
    }

    /// Mounts the file, and checks that the container will find it; does nothing if there is no log.
    borrowing func attach(to dev: inout ContainerDev) throws(Failure) {
        switch file {
        case .none: break
        case .some(let file):
            try dev.attach(file, as: Self.name)
            try dev.find(file, as: Self.name, nil)
        }
    }
}
