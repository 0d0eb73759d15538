import Glibc
import Platform
import RuntimeControl

/// The supervisor's own lease: the directory in `/run/container-vtpm` that stands for a container with a vTPM.
///
/// Its lock shows that it has an owner, which has to call ``remove()``.
public struct LeaseDirectory: ~Copyable {
    /// The socket that poststop and `vtpmctl` connect to.
    public let listener: Descriptor
    /// The directory itself, locked.
    public let directory: Descriptor
    private let runDirectory: Descriptor
    private let name: String

    /// How often it is made again if somebody takes it for a leftover and removes it meanwhile.
    private static let attempts = 16
    /// The size that is reserved for the hook's file, in bytes: if there is no room for it, no state is made.
    private static let reservedSize = 4096

    /// Makes the directory, with its control socket and room for the lease.
    ///
    /// A predecessor of the same name is removed. It may still have a supervisor, which is stopping: the hook has made
    /// sure that no living container's lease is there.
    public init(_ name: String, in runDirectory: consuming Descriptor) throws(Failure) {
        let what = "cannot create the lease \(name)"
        guard !name.isEmpty, !name.contains("/"), !name.hasPrefix(".") else {
            throw Failure(what, because: "that is no name of a lease")
        }
        var backoff = Backoff()
        for _ in 0..<Self.attempts {
            if let made = try Self.make(name, in: runDirectory, what) {
                self.directory = made.lease.directory
                self.listener = made.listener
                self.runDirectory = runDirectory
                self.name = name
                return
            }
            sleep(milliseconds: backoff.next())
        }
        throw Failure(what, because: "others remove it while it is made")
    }

    /// Removes the directory with all that is in it, unless a successor has its name by now, and releases its lock.
    ///
    /// The directory of a vTPM that was prepared, and that no hook has adopted, stays: it says which bundle has to get its
    /// own `config.json` back.
    public consuming func remove() throws(Failure) {
        let own = OpenLease(name, directory)
        if try !own.isPrepared() { try own.remove(from: runDirectory) }
    }

    /// Writes a file into the directory; it does not outlive the boot, and needs no sync.
    public borrowing func write(_ file: String, _ content: [UInt8]) throws(Failure) {
        try Self.write(file, content, in: directory, name)
    }

    /// Removes a file from the directory.
    public borrowing func remove(_ file: String) throws(Failure) {
        try Platform.remove(file, at: directory, "\(file) of the lease \(name)")
    }

    private struct Made: ~Copyable {
        let lease: OpenLease
        let listener: Descriptor
    }

    /// Makes the directory; returns nil if somebody else has removed it, or has locked it in order to remove it.
    private static func make(
        _ name: String,
        in runDirectory: borrowing Descriptor,
        _ what: String
    ) throws(Failure) -> Made? {
        if let old = try OpenLease.open(name, in: runDirectory) { try old.remove(from: runDirectory) }
        let parent = runDirectory.number
        do {
            try systemCall("mkdir", what) { mkdirat(parent, name, 0o700) }
        } catch let error where error.code == EEXIST {
            return nil
        }
        guard let made = try OpenLease.open(name, in: runDirectory), try made.lock() else { return nil }
        do throws(Failure) {
            let listener = try ControlSocket.listen(in: made.directory)
            let room = [UInt8](repeating: 0, count: reservedSize)
            try write(LeaseFiles.unfinishedLease, room, in: made.directory, name)
            return Made(lease: made, listener: listener)
        } catch let error where error.code == ENOENT {
            // Nothing can be made in a directory that was removed.
            return nil
        } catch {
            try? made.remove(from: runDirectory)
            throw error
        }
    }

    private static func write(
        _ file: String,
        _ content: [UInt8],
        in directory: borrowing Descriptor,
        _ name: String
    ) throws(Failure) {
        let what = "\(file) of the lease \(name)"
        let options = OpenOptions.beneath(O_WRONLY | O_CREAT | O_TRUNC, mode: 0o600)
        try Descriptor.openFile(file, options, at: directory.number, as: what).writeAll(content, what)
    }
}
