import Glibc
import Platform

/// What the hook hands to a new supervisor, beside descriptors and keys.
public struct StartOrder: Equatable, Sendable {
    /// Where the TPM's state is kept.
    public enum Storage: Equatable, Sendable {
        /// In memory alone, gone at the stop.
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
    public var initProcess: ProcessIdentity

    /// Collects them.
    public init(
        storage: Storage,
        containerID: String,
        bundle: String,
        leaseName: String,
        initProcess: ProcessIdentity
    ) {
        self.storage = storage
        self.containerID = containerID
        self.bundle = bundle
        self.leaseName = leaseName
        self.initProcess = initProcess
    }

    /// As a message's body.
    public var encoded: ByteWriter {
        var writer = ByteWriter()
        switch storage {
        case .ephemeral: writer.write(UInt8(0))
        case .persistent(let place):
            writer.write(UInt8(1))
            place.write(to: &writer)
        }
        writer.write(text: containerID)
        writer.write(text: bundle)
        writer.write(text: leaseName)
        writer.write(UInt32(bitPattern: initProcess.process))
        writer.write(initProcess.startTime)
        return writer
    }

    /// From a message's body; nothing where it is not one.
    public init?(_ bytes: [UInt8]) {
        var reader = ByteReader(bytes)
        let storage: Storage
        switch reader.read(UInt8.self) {
        case 0: storage = .ephemeral
        case 1:
            guard let place = PersistentStorage(&reader) else { return nil }
            storage = .persistent(place)
        default: return nil
        }
        guard let containerID = reader.readText(), let bundle = reader.readText(), let leaseName = reader.readText(),
            let process = reader.read(UInt32.self), let startTime = reader.read(UInt64.self),
            reader.remaining == 0
        else { return nil }
        self.init(
            storage: storage,
            containerID: containerID,
            bundle: bundle,
            leaseName: leaseName,
            initProcess: ProcessIdentity(process: pid_t(bitPattern: process), startTime: startTime)
        )
    }
}

/// Which state on disk a vTPM has.
public struct PersistentStorage: Equatable, Sendable {
    /// Names the TPM's state.
    public var stateID: String
    /// What an older version named it; nothing where that is the same.
    public var formerStateID: String?
    /// The path of the states directory, for errors.
    public var statesPath: String
    /// The path of the index's directory, for errors.
    public var indexPath: String
    /// How many keys follow: the current one and, during a rotation, the one before it.
    public var keyCount: UInt8
    /// The counter that the index is bound to; nothing where it is bound to none.
    public var counter: HostCounter?
    /// How long the state is kept after its last use, in seconds; nil if until somebody removes it.
    public var keptFor: UInt64?

    /// A counter in the host's TPM.
    public struct HostCounter: Equatable, Sendable {
        /// The path of the TPM's resource manager.
        public var device: String
        /// The handle of the NV index.
        public var handle: UInt32

        /// Names a counter.
        public init(device: String, handle: UInt32) {
            self.device = device
            self.handle = handle
        }
    }

    /// Collects them.
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

/// How a vTPM is, as its supervisor answers.
public struct VTPMStatus: Equatable, Sendable {
    /// What answers the container's commands.
    public enum Health: UInt8, Sendable {
        /// The TPM.
        case serving = 0
        /// TPM_RC_FAILURE, until the container stops.
        case failed = 1
        /// The TPM is being shut down.
        case stopping = 2
    }

    /// What answers the container's commands.
    public var health: Health
    /// How often the state was stored since the TPM was manufactured.
    public var generation: UInt64
    /// Why it failed; empty when it did not.
    public var reason: String

    /// Collects them.
    public init(health: Health, generation: UInt64, reason: String) {
        self.health = health
        self.generation = generation
        self.reason = reason
    }

    /// As a message's body.
    public var encoded: ByteWriter {
        var writer = ByteWriter()
        writer.write(health.rawValue)
        writer.write(generation)
        writer.write(text: reason)
        return writer
    }

    /// From a message's body; nothing where it is not one.
    public init?(_ bytes: [UInt8]) {
        var reader = ByteReader(bytes)
        guard let raw = reader.read(UInt8.self), let health = Health(rawValue: raw),
            let generation = reader.read(UInt64.self), let reason = reader.readText(), reader.remaining == 0
        else { return nil }
        self.init(health: health, generation: generation, reason: reason)
    }
}
