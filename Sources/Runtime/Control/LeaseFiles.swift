import CLinux
import Glibc
import Platform

/// The files in a lease's directory, beside ``ControlSocket/name``, and the directory itself.
///
/// The name of a lease is that of a container, which can be created again while its last supervisor still stops. So a
/// directory is told from its successor by the file that it is, and never by its name.
public enum LeaseFiles {
    /// What the hook wrote about the vTPM, JSON.
    public static let lease = "lease.json"
    /// The same, not yet under its name.
    public static let unfinishedLease = "lease.json.new"
    /// Which state the creation has made, for as long as it is not complete.
    public static let madeState = "made-state"

    /// Opens the directory of a lease; nil if there is none.
    public static func open(_ name: String, in runDirectory: borrowing Descriptor) throws(Failure) -> Descriptor? {
        let options = OpenOptions.beneath(O_RDONLY | O_DIRECTORY)
        do {
            return try .open(name, options, at: runDirectory.number, as: "the lease \(name)")
        } catch let error where error.code == ENOENT {
            return nil
        } catch let error where error.code == ENOTDIR || error.code == ELOOP {
            throw error.helped(by: "it is none of ours: remove it from /run/container-vtpm")
        }
    }

    /// Takes the lock of a lease's open directory, which its supervisor holds until it ends.
    ///
    /// Returns false if somebody has it. It belongs to the open directory, and ends with the last descriptor of that.
    /// flock(2)
    public static func lock(_ directory: borrowing Descriptor) throws(Failure) -> Bool {
        try directory.tryLock("cannot lock a lease")
    }

    /// Removes the directory of a lease with all that we put there, and nothing that has its name by now.
    public static func remove(
        _ name: String,
        _ directory: borrowing Descriptor,
        in runDirectory: borrowing Descriptor
    ) throws(Failure) {
        for file in [ControlSocket.name, lease, unfinishedLease, madeState] {
            try Platform.remove(file, at: directory, "\(file) of the lease \(name)")
        }
        guard try isStill(name, directory, in: runDirectory) else { return }
        do {
            try Platform.remove(name, at: runDirectory, flags: AT_REMOVEDIR, "the lease \(name)")
        } catch {
            // The name may have become a successor's in between. That one is not empty, or notices that it was removed.
            guard try isStill(name, directory, in: runDirectory) else { return }
            throw error
        }
    }

    /// Whether a name still leads to this directory. stat(2)
    public static func isStill(
        _ name: String,
        _ directory: borrowing Descriptor,
        in runDirectory: borrowing Descriptor
    ) throws(Failure) -> Bool {
        let what = "the lease \(name)"
        // O_PATH needs no right to read it, which a confined supervisor does not have.
        let options = OpenOptions.beneath(openPathOnly)
        let now: Descriptor
        do {
            now = try .open(name, options, at: runDirectory.number, as: what)
        } catch let error where error.code == ENOENT {
            return false
        }
        let (found, own) = (try now.status(what), try directory.status(what))
        return found.st_dev == own.st_dev && found.st_ino == own.st_ino
    }
}
