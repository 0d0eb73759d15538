import Crypto
import Glibc
import Platform
import RuntimeControl
import RuntimeFormat
import RuntimeState

/// The record of a container's vTPM, which the hook writes and which lasts as long as the container.
public struct Lease: Equatable, Sendable {
    /// Where supervisor and worker live.
    public enum Place: Equatable, Sendable {
        /// In the cgroup that the hook was in.
        case inherited
        /// In a cgroup of version 2 of their own, with this absolute path.
        case cgroup(String)
        /// In this unit of systemd's.
        case unit(String)
    }

    /// The container's ID, unique per runtime and engine only.
    public var containerID: String
    /// The container's bundle, which tells apart containers of the same ID.
    public var bundle: String
    /// The state's ID; nil if the state is ephemeral.
    public var stateID: String?
    /// The container's init.
    public var initProcess: ProcessID
    /// The container's cgroup; nil if its init is the first process of a PID namespace of its own.
    public var cgroup: CgroupIdentity?
    /// The supervisor.
    public var supervisor: ProcessID
    /// The worker.
    public var worker: ProcessID
    /// The version of libtpms that serves the vTPM; nil in a lease of a release that did not record it.
    public var library: LibraryVersion?
    /// N of the host's `/dev/tpmN`, which no other container gets while this one lives.
    public var tpmNumber: UInt32
    /// The device number of `/dev/tpm0` in the container, `major:minor`.
    public var tpm: String
    /// The device number of `/dev/tpmrm0` in the container, `major:minor`.
    public var tpmrm: String
    /// Where supervisor and worker live; ``Place/inherited`` in a lease of a release that did not record it.
    public var place: Place

    /// Creates a lease.
    public init(
        containerID: String,
        bundle: String,
        stateID: String?,
        initProcess: ProcessID,
        cgroup: CgroupIdentity? = nil,
        supervisor: ProcessID,
        worker: ProcessID,
        library: LibraryVersion?,
        tpmNumber: UInt32,
        tpm: String,
        tpmrm: String,
        place: Place = .inherited
    ) {
        self.containerID = containerID
        self.bundle = bundle
        self.stateID = stateID
        self.initProcess = initProcess
        self.cgroup = cgroup
        self.supervisor = supervisor
        self.worker = worker
        self.library = library
        self.tpmNumber = tpmNumber
        self.tpm = tpm
        self.tpmrm = tpmrm
        self.place = place
    }

    /// The container, whose number is reserved for as long as it is alive.
    public var container: ContainerIdentity { ContainerIdentity(initProcess: initProcess, cgroup: cgroup) }

    /// Returns the name of the lease's directory, 32 hexadecimal digits.
    ///
    /// Container IDs are unique per runtime and engine only. Bundles tell their containers apart.
    public static func name(containerID: String, bundle: String) throws(Failure) -> String {
        let digest = try SHA256.digest(Array(containerID.utf8) + [0], Array(bundle.utf8))
        return Hexadecimal.encode(digest.prefix(16))
    }
}

// MARK: - The file

extension Lease {
    /// The content of the file ``LeaseFiles/lease``: the fields in their order; version 1 has no cgroup.
    ///
    /// An ephemeral state has the ID "", which no state has.
    func encoded() throws(Failure) -> [UInt8] {
        var fields = ByteWriter()
        for text in [containerID, bundle, stateID ?? ""] { fields.write(text: text) }
        for process in [initProcess, supervisor, worker] {
            fields.write(UInt32(bitPattern: process.process))
            fields.write(process.startTime)
        }
        fields.write(library?.number ?? 0)
        fields.write(tpmNumber)
        for text in [tpm, tpmrm] { fields.write(text: text) }
        CgroupIdentity.write(cgroup, to: &fields)
        place.write(to: &fields)
        let file = try FileFormat.lease.encode(fields)
        guard file.count <= FileFormat.lease.sizeLimit else {
            throw Failure(
                "cannot write the lease of \"\(containerID)\"",
                because: "it is larger than \(FileFormat.lease.sizeLimit) bytes"
            )
        }
        return file
    }

    /// Decodes ``encoded()``; the name is for errors.
    init(decoding file: [UInt8], _ name: String) throws(Failure) {
        let header = try FileHeader(.lease, parsing: file, Self.reading(name))
        var reader = header.fields
        var cgroup: CgroupIdentity?
        guard let containerID = reader.readText(), let bundle = reader.readText(), let stateID = reader.readText(),
            let initProcess = reader.readProcess(), let supervisor = reader.readProcess(),
            let worker = reader.readProcess(), let library = reader.read(UInt32.self),
            let tpmNumber = reader.read(UInt32.self), let tpm = reader.readText(), let tpmrm = reader.readText(),
            header.version == 1 || CgroupIdentity.read(&cgroup, from: &reader),
            let place = header.version < 2 ? .inherited : Place(&reader), reader.remaining == 0
        else { throw FileFormat.lease.damaged(Self.reading(name)) }
        self.init(
            containerID: containerID,
            bundle: bundle,
            stateID: stateID.isEmpty ? nil : stateID,
            initProcess: initProcess,
            cgroup: cgroup,
            supervisor: supervisor,
            worker: worker,
            library: library == 0 ? nil : LibraryVersion(number: library),
            tpmNumber: tpmNumber,
            tpm: tpm,
            tpmrm: tpmrm,
            place: place
        )
    }

    /// What could not be done with the lease of this name, for errors.
    static func reading(_ name: String) -> String { "cannot read the lease \(name)" }
}

extension Lease.Place {
    fileprivate func write(to writer: inout ByteWriter) {
        let (kind, name): (UInt8, String) =
            switch self {
            case .inherited: (0, "")
            case .cgroup(let path): (1, path)
            case .unit(let name): (2, name)
            }
        writer.write(kind)
        writer.write(text: name)
    }

    /// Reads a place; returns nil if it is malformed.
    fileprivate init?(_ reader: inout ByteReader) {
        guard let kind = reader.read(UInt8.self), let name = reader.readText() else { return nil }
        switch kind {
        case 0 where name.isEmpty: self = .inherited
        case 1: self = .cgroup(name)
        case 2: self = .unit(name)
        default: return nil
        }
    }
}

extension ByteReader {
    /// Reads a process ID and a start time; returns nil if too few bytes are left.
    fileprivate mutating func readProcess() -> ProcessID? {
        guard let process = read(UInt32.self), let startTime = read(UInt64.self) else { return nil }
        return ProcessID(process: pid_t(bitPattern: process), startTime: startTime)
    }
}
