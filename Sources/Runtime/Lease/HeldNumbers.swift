import Glibc
import Platform
import RuntimeFormat

/// The numbers of `/dev/tpmN` that containers without a PID namespace of their own had, also after their end.
///
/// Such a container has ended once its cgroup is empty. A runtime's `exec` that was under way then can still put a
/// process into the cgroup, with the container's device nodes. So no other container gets the number until the cgroup
/// is removed, when nothing can get into it any more.
///
/// A held number is the container's lease under a second name in the run directory. link(2)
public enum HeldNumbers {
    private static let prefix = ".number-"

    /// Holds a container's number, and runs `body`; if `body` throws, it does not hold the number any more.
    ///
    /// If the lease has no cgroup, it only runs `body`. The lease must be written already, in the directory `name`.
    public static func hold(
        _ lease: Lease,
        named name: String,
        in runDirectory: borrowing Descriptor,
        _ body: () throws(Failure) -> Void
    ) throws(Failure) {
        guard let cgroup = lease.cgroup else { return try body() }
        let held = "\(prefix)\(lease.tpmNumber)-\(cgroup.inode)"
        let parent = runDirectory.number
        try systemCall("linkat", "cannot hold the number of \"\(lease.containerID)\"") {
            linkat(parent, "\(name)/\(LeaseFiles.lease)", parent, held, 0)
        }
        do {
            try body()
        } catch {
            try? remove(held, at: runDirectory, held)
            throw error
        }
    }

    /// Returns whether a container's cgroup holds this number; true also if that cannot be found out.
    public static func contain(_ number: UInt32, in runDirectory: borrowing Descriptor) throws(Failure) -> Bool {
        for name in try names(in: runDirectory) where name.hasPrefix("\(prefix)\(number)-") {
            if isHeld(name, in: runDirectory) { return true }
        }
        return false
    }

    /// Releases the numbers of containers whose cgroup is removed.
    public static func release(in runDirectory: borrowing Descriptor) {
        do throws(Failure) {
            for name in try names(in: runDirectory) where !isHeld(name, in: runDirectory) {
                try remove(name, at: runDirectory, "the held number \(name)")
            }
        } catch {
            Log.error("\(error)", about: LogSubject())
        }
    }

    private static func names(in runDirectory: borrowing Descriptor) throws(Failure) -> [String] {
        try entries(of: runDirectory, "the run directory").filter { $0.hasPrefix(prefix) }
    }

    private static func isHeld(_ name: String, in runDirectory: borrowing Descriptor) -> Bool {
        do throws(Failure) {
            let file = try Descriptor.openFile(name, .beneath(O_RDONLY), at: runDirectory.number)
            let content = try file.readAll(limit: FileFormat.lease.sizeLimit, name)
            return try Lease(decoding: content, name).cgroup?.exists() ?? false
        } catch {
            // Another process has released it, or nothing is known of it.
            return error.code != ENOENT
        }
    }
}
