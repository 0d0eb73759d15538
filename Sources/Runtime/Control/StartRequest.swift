import Glibc
import Platform
import VTPMProxy

/// A hook's request for a vTPM: the contents of ``HookRequest/start(_:)``.
public struct StartRequest: Equatable, Sendable {
    /// Where the TPM's state is kept.
    public enum Storage: Equatable, Sendable {
        /// In memory only; it is gone at the stop.
        case ephemeral
        /// On disk.
        case persistent(PersistentStorage)
    }

    /// Where the TPM's state is kept.
    public var storage: Storage
    /// The container's ID, for logs and errors.
    public var containerID: String
    /// The container's bundle, for the host's index.
    public var bundle: String
    /// The name of the lease's directory in the run directory.
    public var leaseName: String
    /// The container's init.
    public var initProcess: ProcessID
    /// The keys that the TPM has at fixed handles.
    public var keys: RequestedKeys
    /// What the host is to make of the TPM's identity, unless it was done before.
    public var endorsement: EndorsementLevel
    /// The version of libtpms that has made a TPM which the hook has taken from the pool for a new state; nil if it has none.
    ///
    /// That TPM's state follows the keys (``HookRequest/state``).
    public var pooled: LibraryVersion?
    /// Whether the launch is measured: the event about it follows last (``HookRequest/launch``).
    public var isMeasured: Bool
    /// The container's cgroup; nil if its init is the first process of a PID namespace of its own.
    public var cgroup: CgroupIdentity?

    /// Creates a request.
    public init(
        storage: Storage,
        containerID: String,
        bundle: String,
        leaseName: String,
        initProcess: ProcessID,
        keys: RequestedKeys,
        endorsement: EndorsementLevel = .none,
        pooled: LibraryVersion? = nil,
        isMeasured: Bool = false,
        cgroup: CgroupIdentity? = nil
    ) {
        self.isMeasured = isMeasured
        self.keys = keys
        self.endorsement = endorsement
        self.pooled = pooled
        self.storage = storage
        self.containerID = containerID
        self.bundle = bundle
        self.leaseName = leaseName
        self.initProcess = initProcess
        self.cgroup = cgroup
    }

    /// The subject of the supervisor's lines in the log.
    public var logSubject: LogSubject {
        switch storage {
        case .ephemeral: LogSubject(container: containerID)
        case .persistent(let storage): LogSubject(container: containerID, state: storage.stateID)
        }
    }

    /// Writes the contents of a message.
    package func encode(into writer: inout ByteWriter) {
        switch storage {
        case .ephemeral: writer.write(UInt8(0))
        case .persistent(let place):
            writer.write(UInt8(1))
            place.write(to: &writer)
        }
        writer.write(text: containerID)
        writer.write(text: bundle)
        writer.write(text: leaseName)
        keys.encode(into: &writer)
        writer.write(endorsement.rawValue)
        writer.write(UInt8(pooled == nil ? 0 : 1))
        writer.write(pooled?.number ?? 0)
        writer.write(UInt8(isMeasured ? 1 : 0))
        ContainerIdentity(initProcess: initProcess, cgroup: cgroup).encode(into: &writer)
    }

    /// Reads the contents of a message; returns nil if they are malformed.
    package init?(_ reader: inout ByteReader) {
        let storage: Storage
        switch reader.read(UInt8.self) {
        case 0: storage = .ephemeral
        case 1:
            guard let place = PersistentStorage(&reader) else { return nil }
            storage = .persistent(place)
        default: return nil
        }
        guard let containerID = reader.readText(), let bundle = reader.readText(), let leaseName = reader.readText(),
            let keys = RequestedKeys(&reader),
            let endorsement = reader.read(UInt8.self).flatMap(EndorsementLevel.init(rawValue:)),
            let isPooled = reader.read(UInt8.self), isPooled < 2, let library = reader.read(UInt32.self),
            isPooled == 1 || library == 0, let isMeasured = reader.read(UInt8.self), isMeasured < 2,
            let container = ContainerIdentity(&reader)
        else { return nil }
        // One that ends with its container is made for it.
        if isPooled == 1, case .ephemeral = storage { return nil }
        self.init(
            storage: storage,
            containerID: containerID,
            bundle: bundle,
            leaseName: leaseName,
            initProcess: container.initProcess,
            keys: keys,
            endorsement: endorsement,
            pooled: isPooled == 1 ? LibraryVersion(number: library) : nil,
            isMeasured: isMeasured == 1,
            cgroup: container.cgroup
        )
    }
}

/// The state on disk that a vTPM has.
public struct PersistentStorage: Equatable, Sendable {
    /// The state's ID.
    public var stateID: String
    /// The state's ID in an older version; nil if that is the same.
    public var formerStateID: String?
    /// The path of the states directory, for errors.
    public var statesPath: String
    /// The path of the index's directory, for errors.
    public var indexPath: String
    /// The number of keys that follow: the current one and, during a rotation, the one before it.
    public var keyCount: UInt8
    /// The counter that the index is bound to; nil if it is bound to none.
    public var counter: HostCounter?
    /// How long the state is kept after its last use, in seconds; nil if it is kept until somebody removes it.
    public var keptFor: UInt64?

    /// A counter in the host's TPM.
    public struct HostCounter: Equatable, Sendable {
        /// The path of the TPM's resource manager.
        public var device: String
        /// The handle of the NV index.
        public var handle: UInt32

        /// Creates the name of a counter.
        public init(device: String, handle: UInt32) {
            self.device = device
            self.handle = handle
        }
    }

    /// Creates the description of a state.
    public init(
        stateID: String,
        formerStateID: String? = nil,
        statesPath: String,
        indexPath: String,
        keyCount: UInt8 = 1,
        counter: HostCounter? = nil,
        keptFor: UInt64? = nil
    ) {
        self.stateID = stateID
        self.formerStateID = formerStateID
        self.statesPath = statesPath
        self.indexPath = indexPath
        self.keyCount = keyCount
        self.counter = counter
        self.keptFor = keptFor
    }

    fileprivate func write(to writer: inout ByteWriter) {
        writer.write(text: stateID)
        writer.write(text: formerStateID ?? "")
        writer.write(text: statesPath)
        writer.write(text: indexPath)
        writer.write(keyCount)
        writer.write(text: counter?.device ?? "")
        writer.write(counter?.handle ?? 0)
        writer.write(UInt8(keptFor == nil ? 0 : 1))
        writer.write(keptFor ?? 0)
    }

    fileprivate init?(_ reader: inout ByteReader) {
        guard let stateID = reader.readText(), let formerStateID = reader.readText(),
            let statesPath = reader.readText(), let indexPath = reader.readText(),
            let keyCount = reader.read(UInt8.self), let device = reader.readText(),
            let handle = reader.read(UInt32.self), let isLimited = reader.read(UInt8.self), isLimited < 2,
            let keptFor = reader.read(UInt64.self), isLimited == 1 || keptFor == 0
        else { return nil }
        self.init(
            stateID: stateID,
            formerStateID: formerStateID.isEmpty ? nil : formerStateID,
            statesPath: statesPath,
            indexPath: indexPath,
            keyCount: keyCount,
            counter: device.isEmpty ? nil : HostCounter(device: device, handle: handle),
            keptFor: isLimited == 1 ? keptFor : nil
        )
    }
}
