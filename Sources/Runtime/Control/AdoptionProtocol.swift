import Platform

/// A request to the process that has prepared a vTPM, on the socket ``AdoptionRequest/socketName`` of its lease.
public enum AdoptionRequest: ChannelMessage {
    /// Asks for the vTPM with this token, which the hook has got from the runtime's `config.json`.
    case adopt(token: [UInt8])
    /// Says that the runtime has given the container up; there is no answer, and the connection closes at the end.
    ///
    /// The token shows that the runtime has read `config.json`.
    case abandon(token: [UInt8])

    /// The socket's name in the lease's directory.
    public static let socketName = "adoption"
    /// The size of a token, in bytes.
    public static let tokenSize = 16

    /// The numbers of the messages.
    public enum Kind: UInt8, Sendable {
        case adopt = 1
        case abandon = 2
    }

    public static let maximumSize = tokenSize

    public var kind: Kind {
        switch self {
        case .adopt: .adopt
        case .abandon: .abandon
        }
    }

    public func encode(into writer: inout ByteWriter) {
        switch self {
        case .adopt(let token), .abandon(let token): writer.write(token)
        }
    }

    public init?(_ kind: Kind, _ contents: borrowing Message) {
        let token = contents.body
        guard token.count == Self.tokenSize else { return nil }
        switch kind {
        case .adopt: self = .adopt(token: token)
        case .abandon: self = .abandon(token: token)
        }
    }
}

/// The answer to ``AdoptionRequest/adopt(token:)``.
public enum AdoptionReply: ChannelMessage {
    /// The vTPM is the hook's, and `config.json` is as it was.
    ///
    /// Descriptors: the hook's end of the channel to the supervisor; the lease's directory.
    case handedOver
    /// The vTPM stays where it is, or is undone.
    case failure(Failure)

    /// The numbers of the messages.
    public enum Kind: UInt8, Sendable {
        case handedOver = 1
        case failure = 2
    }

    public static let maximumSize = Failure.relayedLimit

    public var kind: Kind {
        switch self {
        case .handedOver: .handedOver
        case .failure: .failure
        }
    }

    public func encode(into writer: inout ByteWriter) {
        if case .failure(let failure) = self { failure.encode(into: &writer) }
    }

    public init?(_ kind: Kind, _ contents: borrowing Message) {
        switch kind {
        case .handedOver: self = .handedOver
        case .failure: self = .failure(contents.failure)
        }
    }
}
