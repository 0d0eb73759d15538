import Glibc
import Platform

/// What the hook hands to a new supervisor, beside descriptors and the key.
public struct StartOrder: Equatable, Sendable {
    /// Names the TPM's state; the container's ID unless something else is configured.
    public var stateID: String
    /// The path of the states directory, for errors.
    public var statesPath: String
    /// The container's ID, for logs and errors.
    public var containerID: String
    /// The name of the lease's directory in the run directory.
    public var leaseName: String
    /// The container's init.
    public var initProcess: ProcessIdentity
    /// The worker's program.
    public var workerPath: String

    /// Collects them.
    public init(
        stateID: String,
        statesPath: String,
        containerID: String,
        leaseName: String,
        initProcess: ProcessIdentity,
        workerPath: String
    ) {
        self.stateID = stateID
        self.statesPath = statesPath
        self.containerID = containerID
        self.leaseName = leaseName
        self.initProcess = initProcess
        self.workerPath = workerPath
    }

    /// As a message's body.
    public var encoded: ByteWriter {
        var writer = ByteWriter()
        writer.write(text: stateID)
        writer.write(text: statesPath)
        writer.write(text: containerID)
        writer.write(text: leaseName)
        writer.write(UInt32(bitPattern: initProcess.process))
        writer.write(initProcess.startTime)
        writer.write(text: workerPath)
        return writer
    }

    /// From a message's body; nothing where it is not one.
    public init?(_ bytes: [UInt8]) {
        var reader = ByteReader(bytes)
        guard let stateID = reader.readText(), let statesPath = reader.readText(),
            let containerID = reader.readText(), let leaseName = reader.readText(),
            let process = reader.read(UInt32.self), let startTime = reader.read(UInt64.self),
            let workerPath = reader.readText(), reader.remaining == 0
        else { return nil }
        self.init(
            stateID: stateID,
            statesPath: statesPath,
            containerID: containerID,
            leaseName: leaseName,
            initProcess: ProcessIdentity(process: pid_t(bitPattern: process), startTime: startTime),
            workerPath: workerPath
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
