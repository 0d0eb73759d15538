import Crypto
import Glibc
import Platform
import RuntimeControl
import RuntimeState

/// What the hook writes down about a container's vTPM, for as long as the container lives.
public struct Lease: Equatable, Sendable {
    /// The container's ID, unique per runtime and engine only.
    public var containerID: String
    /// The container's bundle, which tells apart containers of the same ID.
    public var bundle: String
    /// The state's ID; nil if the state is ephemeral.
    public var stateID: String?
    /// The container's init.
    public var initProcess: ProcessID
    /// The supervisor.
    public var supervisor: ProcessID
    /// The worker.
    public var worker: ProcessID
    /// The version of libtpms that serves the vTPM; nil in a lease of a release that did not record it.
    public var library: LibraryVersion?
    /// N of the host's `/dev/tpmN`: taken for as long as the init lives.
    public var tpmNumber: UInt32
    /// The device number of `/dev/tpm0` in the container, `major:minor`.
    public var tpm: String
    /// The device number of `/dev/tpmrm0` in the container, `major:minor`.
    public var tpmrm: String

    /// A lease with these fields.
    public init(
        containerID: String,
        bundle: String,
        stateID: String?,
        initProcess: ProcessID,
        supervisor: ProcessID,
        worker: ProcessID,
        library: LibraryVersion?,
        tpmNumber: UInt32,
        tpm: String,
        tpmrm: String
    ) {
        self.containerID = containerID
        self.bundle = bundle
        self.stateID = stateID
        self.initProcess = initProcess
        self.supervisor = supervisor
        self.worker = worker
        self.library = library
        self.tpmNumber = tpmNumber
        self.tpm = tpm
        self.tpmrm = tpmrm
    }

    /// The name of the lease's directory, 32 hexadecimal digits.
    ///
    /// Container IDs are unique per runtime and engine only. Bundles tell their containers apart.
    public static func name(containerID: String, bundle: String) throws(Failure) -> String {
        let digest = try SHA256.digest(Array(containerID.utf8) + [0], Array(bundle.utf8))
        return Hexadecimal.encode(digest.prefix(16))
    }
}

// MARK: - The file

extension Lease {
    /// The largest file, in bytes.
    ///
    /// The texts come from one ``StartRequest``, which is a message of ``Channel/messageLimit`` bytes at most.
    static let sizeLimit = 64 * 1024

    private static let magic = Array("CVTPMLS\n".utf8)
    private static let version: UInt16 = 1
    private static let checkSize = 16

    /// The content of the file ``LeaseFiles/lease``.
    ///
    /// Magic, version, the fields in their order, and the first 16 bytes of the SHA-256 of all of it. Integers are
    /// big-endian, texts have a length of 32 bits; an ephemeral state has the ID "", which no state has.
    func encoded() throws(Failure) -> [UInt8] {
        var writer = ByteWriter()
        writer.write(Self.magic)
        writer.write(Self.version)
        for text in [containerID, bundle, stateID ?? ""] { writer.write(text: text) }
        for process in [initProcess, supervisor, worker] {
            writer.write(UInt32(bitPattern: process.process))
            writer.write(process.startTime)
        }
        writer.write(library?.number ?? 0)
        writer.write(tpmNumber)
        for text in [tpm, tpmrm] { writer.write(text: text) }
        writer.write(try SHA256.digest(writer.bytes).prefix(Self.checkSize))
        guard writer.bytes.count <= Self.sizeLimit else {
            throw Failure(
                "cannot write the lease of \"\(containerID)\"",
                because: "it is larger than \(Self.sizeLimit) bytes"
            )
        }
        return writer.bytes
    }

    /// Decodes ``encoded()``; the name is for errors.
    init(decoding file: [UInt8], _ name: String) throws(Failure) {
        var reader = ByteReader(file)
        guard reader.read(count: Self.magic.count) == Self.magic, let version = reader.read(UInt16.self) else {
            throw Self.damaged(name)
        }
        guard version == Self.version else {
            throw Failure(
                "cannot read the lease \(name)",
                because: "it has format \(version), and this version reads \(Self.version)"
            )
        }
        guard let containerID = reader.readText(), let bundle = reader.readText(), let stateID = reader.readText(),
            let initProcess = reader.readProcess(), let supervisor = reader.readProcess(),
            let worker = reader.readProcess(), let library = reader.read(UInt32.self),
            let tpmNumber = reader.read(UInt32.self), let tpm = reader.readText(), let tpmrm = reader.readText()
        else { throw Self.damaged(name) }
        let check = try SHA256.digest(Array(file[..<reader.offset])).prefix(Self.checkSize)
        guard reader.remaining == Self.checkSize, reader.read(count: Self.checkSize) == Array(check) else {
            throw Self.damaged(name)
        }
        self.init(
            containerID: containerID,
            bundle: bundle,
            stateID: stateID.isEmpty ? nil : stateID,
            initProcess: initProcess,
            supervisor: supervisor,
            worker: worker,
            library: library == 0 ? nil : LibraryVersion(number: library),
            tpmNumber: tpmNumber,
            tpm: tpm,
            tpmrm: tpmrm
        )
    }

    static func damaged(_ name: String) -> Failure {
        Failure(
            "cannot read the lease \(name)",
            because: "it is damaged",
            hint: "remove its directory once its container is gone"
        )
    }
}

extension ByteReader {
    /// Reads a process ID and a start time; returns nil if too few bytes are left.
    fileprivate mutating func readProcess() -> ProcessID? {
        guard let process = read(UInt32.self), let startTime = read(UInt64.self) else { return nil }
        return ProcessID(process: pid_t(bitPattern: process), startTime: startTime)
    }
}
