import Platform

/// What `vtpm-runtime` has prepared for a container, by `vtpm-hook prepare VERB ID BUNDLE`.
public enum PreparationVerb: String, Sendable {
    /// A container is created and waits for its start.
    case create
    /// A container is created and started.
    case run
    /// A container is created from a checkpoint.
    case restore
    /// The preparation was cut short: the bundle gets its own `config.json` back.
    case undo
}

/// The answer to `vtpm-runtime`, the only message on the channel that the preparing process gets as descriptor 3.
public enum PreparationReply: ChannelMessage {
    /// The container gets a TPM, which waits for the hook that `config.json` names now.
    case prepared
    /// Nothing was made or changed: the container gets no TPM.
    case nothing
    /// The container must not be created; nothing was made or changed.
    case failure(Failure)

    /// The numbers of the messages.
    public enum Kind: UInt8, Sendable {
        case prepared = 1
        case nothing = 2
        case failure = 3
    }

    public static let maximumSize = Failure.relayedLimit

    public var kind: Kind {
        switch self {
        case .prepared: .prepared
        case .nothing: .nothing
        case .failure: .failure
        }
    }

    public func encode(into writer: inout ByteWriter) {
        if case .failure(let failure) = self { failure.encode(into: &writer) }
    }

    public init?(_ kind: Kind, _ contents: borrowing Message) {
        switch kind {
        case .prepared: self = .prepared
        case .nothing: self = .nothing
        case .failure: self = .failure(contents.failure)
        }
    }
}

/// What a process that becomes a command tells `vtpm-hook run`, the only message in that direction.
public enum CommandNotice: ChannelMessage {
    /// The process has a mount namespace and a `/dev` of its own.
    case ready

    /// The numbers of the messages.
    public enum Kind: UInt8, Sendable {
        case ready = 1
    }

    public static let maximumSize = 0

    public var kind: Kind { .ready }

    public func encode(into writer: inout ByteWriter) {}

    public init?(_ kind: Kind, _ contents: borrowing Message) {
        guard contents.count == 0 else { return nil }
        self = .ready
    }
}
