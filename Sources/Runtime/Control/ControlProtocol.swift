import Platform

/// A request of a client on a lease's control socket.
public enum ControlRequest: ChannelMessage {
    /// Asks for the status of the vTPM.
    ///
    /// The answer is ``ControlReply/status(_:)``.
    case status
    /// Waits until the vTPM has stopped, which it does by itself once the container has ended.
    ///
    /// There is no answer: the connection closes when everything is cleaned up.
    case stop
    /// Changes to another master key, which follows in the same message, a secret of 32 bytes.
    ///
    /// The answer is ``ControlReply/rekeyed`` once the state on disk needs no other key, or
    /// ``ControlReply/failure(_:)``.
    case rekey

    /// The numbers of the messages.
    public enum Kind: UInt8, Sendable {
        case status = 1
        case stop = 2
        case rekey = 3
    }

    public static let maximumSize = 0

    public var kind: Kind {
        switch self {
        case .status: .status
        case .stop: .stop
        case .rekey: .rekey
        }
    }

    public func encode(into writer: inout ByteWriter) {}

    public init?(_ kind: Kind, _ contents: borrowing Message) {
        switch kind {
        case .status: self = .status
        case .stop: self = .stop
        case .rekey: self = .rekey
        }
    }
}

/// An answer of a supervisor on its control socket.
public enum ControlReply: ChannelMessage {
    /// The status of the vTPM.
    case status(VTPMStatus)
    /// The state on disk needs only the new key.
    case rekeyed
    /// The request could not be fulfilled.
    case failure(Failure)

    /// The numbers of the messages.
    public enum Kind: UInt8, Sendable {
        case status = 1
        case rekeyed = 4
        case failure = 5
    }

    public static let maximumSize = Failure.relayedLimit + 13

    public var kind: Kind {
        switch self {
        case .status: .status
        case .rekeyed: .rekeyed
        case .failure: .failure
        }
    }

    public func encode(into writer: inout ByteWriter) {
        switch self {
        case .status(let status): status.encode(into: &writer)
        case .rekeyed: break
        case .failure(let failure): failure.encode(into: &writer)
        }
    }

    public init?(_ kind: Kind, _ contents: borrowing Message) {
        var reader = ByteReader(contents.body)
        switch kind {
        case .status:
            guard let status = VTPMStatus(&reader) else { return nil }
            self = .status(status)
        case .rekeyed: self = .rekeyed
        case .failure:
            self = .failure(contents.failure)
            return
        }
        guard reader.remaining == 0 else { return nil }
    }
}

/// The status of a vTPM.
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
    /// The number of times that the state was stored since the TPM was manufactured.
    public var generation: UInt64
    /// Why the TPM has failed; empty if it has not.
    public var reason: String

    /// Creates a status.
    public init(health: Health, generation: UInt64, reason: String) {
        self.health = health
        self.generation = generation
        self.reason = reason
    }

    /// Writes the contents of a message; a long reason is cut to ``Failure/relayedLimit`` bytes.
    package func encode(into writer: inout ByteWriter) {
        writer.write(health.rawValue)
        writer.write(generation)
        writer.write(text: reason.cut(toBytes: Failure.relayedLimit))
    }

    /// Reads the contents of a message; returns nil if they are malformed.
    package init?(_ reader: inout ByteReader) {
        guard let raw = reader.read(UInt8.self), let health = Health(rawValue: raw),
            let generation = reader.read(UInt64.self), let reason = reader.readText()
        else { return nil }
        self.init(health: health, generation: generation, reason: reason)
    }
}
