import Platform

/// What a client of a lease's control socket asks: one message, which one ``ControlReply`` answers.
public enum ControlRequest: ChannelMessage {
    /// How the vTPM is. Answered with ``ControlReply/status(_:)``.
    case status
    /// To stop as soon as the init is gone.
    ///
    /// Not answered: the connection closes when everything is cleaned up.
    case stop
    /// To go over to another master key, which follows in the same message as a secret of 32 bytes.
    ///
    /// Answered with ``ControlReply/rekeyed`` once the state on disk needs no other key any more, or with
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

/// What a supervisor answers on its control socket.
public enum ControlReply: ChannelMessage {
    /// How the vTPM is.
    case status(VTPMStatus)
    /// The state needs the new key alone.
    case rekeyed
    /// What was asked for could not be done.
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

    /// What a supervisor knows of its vTPM.
    public init(health: Health, generation: UInt64, reason: String) {
        self.health = health
        self.generation = generation
        self.reason = reason
    }

    /// Writes it as a message's contents; of a long reason the first ``Failure/relayedLimit`` bytes.
    package func encode(into writer: inout ByteWriter) {
        writer.write(health.rawValue)
        writer.write(generation)
        writer.write(text: reason.cut(toBytes: Failure.relayedLimit))
    }

    /// Reads it from a message's contents; returns nil if they are something else.
    package init?(_ reader: inout ByteReader) {
        guard let raw = reader.read(UInt8.self), let health = Health(rawValue: raw),
            let generation = reader.read(UInt64.self), let reason = reader.readText()
        else { return nil }
        self.init(health: health, generation: generation, reason: reason)
    }
}
