import CLinux
import Glibc
import Platform
import RuntimeControl
import RuntimeFormat
import RuntimeState

/// The files in a lease's directory, beside ``ControlSocket/name``.
public enum LeaseFiles {
    /// The record of the vTPM, a ``Lease`` that the hook writes.
    public static let lease = "lease"
    /// The same file before it gets its name, and ``prepared`` before it gets its own.
    public static let unfinishedLease = "lease.new"
    /// The state that the creation makes, a ``MadeState``; it is there until the creation is complete.
    public static let madeState = "made-state"

    /// The record of a vTPM that waits for its hook, a ``PreparedVTPM``.
    public static let prepared = "prepared"

    /// The record of the endorsement of an ephemeral TPM, which has no state to be in.
    public static let endorsement = "endorsement"

    /// The event log of the launch, as the container has it.
    public static let launchLog = "launch.log"

    /// What the host says of the run, in JSON.
    public static let manifest = "manifest.json"

    /// All files that we put there.
    static let all =
        [
            ControlSocket.name, AdoptionRequest.socketName, lease, unfinishedLease, madeState, prepared,
            endorsement, launchLog, manifest, EarlierLease.file, EarlierLease.unfinishedFile,
        ]
}

/// The open directory of a lease.
///
/// A lease is named after its container, which can be created again while its last supervisor still stops. So a
/// directory is distinguished from its successor by its inode, and never by its name.
public struct OpenLease: ~Copyable {
    /// The directory's name in the run directory.
    public let name: String
    /// The directory itself.
    public let directory: Descriptor

    /// Takes ownership of an open directory.
    public init(_ name: String, _ directory: consuming Descriptor) {
        self.name = name
        self.directory = directory
    }

    /// Opens the lease of this name; returns nil if there is none.
    public static func open(_ name: String, in runDirectory: borrowing Descriptor) throws(Failure) -> OpenLease? {
        let options = OpenOptions.beneath(O_RDONLY | O_DIRECTORY)
        do {
            return OpenLease(name, try .open(name, options, at: runDirectory.number, as: "the lease \(name)"))
        } catch let error where error.code == ENOENT {
            return nil
        } catch let error where error.code == ENOTDIR || error.code == ELOOP {
            throw error.withHint("it is none of ours: remove it from /run/container-vtpm")
        }
    }

    /// Returns the name of the lease that the container of a prepared vTPM has, or would have.
    ///
    /// `vtpm-runtime` resolves the links in a bundle's path. Some runtimes tell the hook of the path as it was given.
    public static func preparedName(
        containerID: String,
        bundle: String,
        in runDirectory: borrowing Descriptor
    ) throws(Failure) -> String {
        let name = try Lease.name(containerID: containerID, bundle: bundle)
        guard let path = realpath(bundle, nil) else { return name }
        defer { free(path) }
        let resolved = try Lease.name(containerID: containerID, bundle: String(cString: path))
        guard resolved != name, try open(name, in: runDirectory) == nil, try open(resolved, in: runDirectory) != nil
        else {
            return name
        }
        return resolved
    }

    /// Takes the lock that the supervisor holds until it ends; returns false if somebody has it.
    ///
    /// It belongs to the open directory, and ends with the last descriptor of that. flock(2)
    public borrowing func lock() throws(Failure) -> Bool {
        try directory.tryLock("cannot lock a lease")
    }

    /// Returns whether the name still leads to this directory. stat(2)
    public borrowing func isCurrent(in runDirectory: borrowing Descriptor) throws(Failure) -> Bool {
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

    /// Removes the directory with all that we put there, but not a successor that has its name by now.
    public borrowing func remove(from runDirectory: borrowing Descriptor) throws(Failure) {
        for file in LeaseFiles.all {
            try Platform.remove(file, at: directory, "\(file) of the lease \(name)")
        }
        guard try isCurrent(in: runDirectory) else { return }
        do {
            try Platform.remove(name, at: runDirectory, flags: AT_REMOVEDIR, "the lease \(name)")
        } catch {
            // The name may have become a successor's in between. That one is not empty, or notices that it was removed.
            guard try isCurrent(in: runDirectory) else { return }
            throw error
        }
    }
}

// MARK: - What is written in it

extension OpenLease {
    /// Reads what the hook wrote; returns nil if it has not written yet.
    ///
    /// A container that was created before an upgrade of the programs has a lease of the earlier version.
    public borrowing func read() throws(Failure) -> Lease? {
        let what = "the lease \(name)"
        if let file = try content(of: LeaseFiles.lease, limit: FileFormat.lease.sizeLimit, what) {
            return try Lease(decoding: file, name)
        }
        guard let earlier = try content(of: EarlierLease.file, limit: EarlierLease.sizeLimit, what) else { return nil }
        guard let lease = EarlierLease.lease(earlier) else { throw FileFormat.lease.damaged(Lease.reading(name)) }
        return lease
    }

    /// Writes the lease, whole or not at all.
    ///
    /// The directory does not outlive the boot, so nothing needs to be synced. The file is not truncated first, since
    /// its supervisor has reserved the room for it.
    public borrowing func write(_ lease: Lease) throws(Failure) {
        try write(lease.encoded(), as: LeaseFiles.lease, "the lease of \"\(lease.containerID)\"")
    }

    /// Writes the record of an ephemeral TPM's endorsement.
    public borrowing func write(endorsement: [UInt8]) throws(Failure) {
        try write(endorsement, as: LeaseFiles.endorsement, "the endorsement of the lease \(name)")
    }

    /// Reads that record; returns nil if there is none.
    public borrowing func endorsement() throws(Failure) -> [UInt8]? {
        let limit = AuthorityReply.recordLimit
        return try content(of: LeaseFiles.endorsement, limit: limit, "the endorsement of the lease \(name)")
    }

    /// Writes the event log of the launch.
    public borrowing func write(launchLog: [UInt8]) throws(Failure) {
        try write(launchLog, as: LeaseFiles.launchLog, "the launch log of the lease \(name)")
    }

    /// Reads that log; returns nil if the launch was not measured.
    public borrowing func launchLog() throws(Failure) -> [UInt8]? {
        let limit = TaggedEvent.logLimit
        return try content(of: LeaseFiles.launchLog, limit: limit, "the launch log of the lease \(name)")
    }

    /// The largest manifest that is read, in bytes.
    public static let manifestLimit = 1 << 17

    /// Writes what the host says of the run.
    public borrowing func write(manifest: [UInt8]) throws(Failure) {
        try write(manifest, as: LeaseFiles.manifest, "the manifest of the lease \(name)")
    }

    /// Reads that manifest; returns nil if the launch was not measured.
    public borrowing func manifest() throws(Failure) -> [UInt8]? {
        let what = "the manifest of the lease \(name)"
        return try content(of: LeaseFiles.manifest, limit: Self.manifestLimit, what)
    }

    /// Writes a file, whole or not at all, so that nobody ever finds a part of it.
    ///
    /// The flags are those of renameat2(2).
    borrowing func write(
        _ content: [UInt8],
        as file: String,
        flags: UInt32 = 0,
        _ object: String
    ) throws(Failure) {
        let number = directory.number
        let what = "cannot write \(object)"
        let options = OpenOptions.beneath(O_WRONLY | O_CREAT, mode: 0o600)
        let opened = try Descriptor.openFile(LeaseFiles.unfinishedLease, options, at: number, as: object)
        try opened.writeAll(content, object)
        let unfinished = opened.number
        try systemCall("ftruncate", what) { ftruncate(unfinished, content.count) }
        try systemCall("renameat2", what) { renameat2(number, LeaseFiles.unfinishedLease, number, file, flags) }
    }

    /// Reads which state the creation was making; returns nil if it was making none, or is complete.
    ///
    /// There is none either if its writer was killed while it wrote: by then nothing of a state had been made.
    public borrowing func madeState() throws(Failure) -> MadeState? {
        try content(of: LeaseFiles.madeState, limit: 65536, "\(LeaseFiles.madeState) of the lease \(name)")
            .flatMap { MadeState($0) }
    }

    /// Returns whether the creation has named a state that it makes.
    public borrowing func namesMadeState() -> Bool {
        faccessat(directory.number, LeaseFiles.madeState, F_OK, 0) == 0
    }

    borrowing func content(
        of file: String,
        limit: Int,
        _ what: String
    ) throws(Failure) -> [UInt8]? {
        do {
            return try Descriptor.openFile(file, .beneath(O_RDONLY), at: directory.number, as: what)
                .readAll(limit: limit, what)
        } catch let error where error.code == ENOENT {
            return nil
        }
    }
}
