import FoundationEssentials
import Glibc
import Platform
import RuntimeControl

/// What the hook writes down about a container's vTPM: `lease.json` in the lease's directory.
public struct Lease: Codable, Equatable, Sendable {
    /// The container's ID, unique per runtime and engine only.
    public var containerID: String
    /// The container's bundle, which tells apart containers of the same ID.
    public var bundle: String
    /// The state's ID; nothing where the state is ephemeral.
    public var stateID: String?
    /// The container's init.
    public var initPID: Int32
    /// When the init started, in clock ticks since boot.
    public var initStartTime: UInt64
    /// The supervisor.
    public var supervisorPID: Int32
    /// When the supervisor started, in clock ticks since boot.
    public var supervisorStartTime: UInt64
    /// The worker.
    public var workerPID: Int32
    /// When the worker started, in clock ticks since boot.
    public var workerStartTime: UInt64
    /// The version of libtpms that serves the vTPM; nothing in a lease of a release that did not record it.
    public var libtpms: String?
    /// N of the host's `/dev/tpmN`: taken for as long as the init lives.
    public var tpmNumber: UInt32
    /// The device number of `/dev/tpm0` in the container, `major:minor`.
    public var tpm: String
    /// The device number of `/dev/tpmrm0` in the container, `major:minor`.
    public var tpmrm: String

    /// Collects them.
    public init(
        containerID: String,
        bundle: String,
        stateID: String?,
        initProcess: ProcessIdentity,
        supervisor: ProcessIdentity,
        worker: ProcessIdentity,
        library: LibraryVersion,
        tpmNumber: UInt32,
        tpm: String,
        tpmrm: String
    ) {
        self.containerID = containerID
        self.bundle = bundle
        self.stateID = stateID
        self.initPID = initProcess.process
        self.initStartTime = initProcess.startTime
        self.supervisorPID = supervisor.process
        self.supervisorStartTime = supervisor.startTime
        self.workerPID = worker.process
        self.workerStartTime = worker.startTime
        self.libtpms = "\(library)"
        self.tpmNumber = tpmNumber
        self.tpm = tpm
        self.tpmrm = tpmrm
    }

    /// The container's init.
    public var initProcess: ProcessIdentity { ProcessIdentity(process: initPID, startTime: initStartTime) }

    /// The supervisor.
    public var supervisor: ProcessIdentity { ProcessIdentity(process: supervisorPID, startTime: supervisorStartTime) }

    /// The worker.
    public var worker: ProcessIdentity { ProcessIdentity(process: workerPID, startTime: workerStartTime) }

    /// The lease as JSON, its keys in order.
    public func encoded() throws(Failure) -> [UInt8] {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        do {
            return Array(try encoder.encode(self)) + [UInt8(ascii: "\n")]
        } catch {
            throw Failure("cannot write the lease of \"\(containerID)\"", because: "\(error)")
        }
    }

    /// Reads the lease in an open directory; nothing where there is none yet.
    public static func read(in directory: borrowing Descriptor, _ name: String) throws(Failure) -> Lease? {
        let file: Descriptor
        do {
            file = try .openFile(LeaseFiles.lease, .beneath(O_RDONLY), at: directory.number, as: "the lease \(name)")
        } catch let error where error.code == ENOENT {
            return nil
        }
        let content = try file.readAll(limit: sizeLimit, "the lease \(name)")
        do {
            return try JSONDecoder().decode(Lease.self, from: Data(content))
        } catch {
            throw Failure(
                "cannot read the lease \(name)",
                because: "it is damaged",
                remedy: "remove its directory once its container is gone"
            )
        }
    }

    /// Writes the lease into its open directory, whole or not at all.
    ///
    /// The directory does not outlive the boot, so that nothing needs to be synced. The file is not emptied first: its
    /// supervisor has made sure that there is room for it.
    public func write(in directory: borrowing Descriptor) throws(Failure) {
        let what = "cannot write the lease of \"\(containerID)\""
        let number = directory.number
        let file = try Descriptor.openFile(
            LeaseFiles.unfinishedLease,
            .beneath(O_WRONLY | O_CREAT, mode: 0o600),
            at: number,
            as: "the lease of \"\(containerID)\""
        )
        let content = try encoded()
        try file.writeAll(content, "the lease of \"\(containerID)\"")
        let unfinished = file.number
        try systemCall("ftruncate", what) { ftruncate(unfinished, content.count) }
        try systemCall("renameat", what) { renameat(number, LeaseFiles.unfinishedLease, number, LeaseFiles.lease) }
    }

    private static let sizeLimit = 256 * 1024
}

/// All leases of the host: the directories in `/run/container-vtpm`.
public enum Leases {
    /// The names of all leases' directories.
    public static func names(in runDirectory: borrowing Descriptor) throws(Failure) -> [String] {
        try entries(of: runDirectory, "the run directory").filter { !$0.hasPrefix(".") }.sorted()
    }

    /// Calls `body` with each lease: its name, its open directory, and what the hook has written, or nil if it has not.
    ///
    /// One that goes away meanwhile is left out. One that cannot be read is passed over.
    ///
    /// - Returns: What is wrong with those that were passed over.
    public static func each(
        in runDirectory: borrowing Descriptor,
        _ body: (String, borrowing Descriptor, Lease?) throws(Failure) -> Void
    ) throws(Failure) -> [Failure] {
        var problems: [Failure] = []
        for name in try names(in: runDirectory) {
            switch try read(name, in: runDirectory, &problems) {
            case .none: continue
            case .some(let found): try body(name, found.directory, found.lease)
            }
        }
        return problems
    }

    private struct Found: ~Copyable {
        let directory: Descriptor
        let lease: Lease?
    }

    private static func read(
        _ name: String,
        in runDirectory: borrowing Descriptor,
        _ problems: inout [Failure]
    ) throws(Failure) -> Found? {
        do throws(Failure) {
            guard let directory = try LeaseFiles.open(name, in: runDirectory) else { return nil }
            let lease = try Lease.read(in: directory, name)
            return Found(directory: directory, lease: lease)
        } catch {
            guard !isOfOurs(error) else { throw error }
            problems.append(error)
            return nil
        }
    }

    /// Whether an error is one of this process's own shortages, which says nothing of the lease.
    private static func isOfOurs(_ error: Failure) -> Bool {
        [EMFILE, ENFILE, ENOMEM, ENOBUFS].contains(error.code)
    }
}
