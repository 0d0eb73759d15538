import Glibc
import Platform

/// What a hook sends to its supervisor while a container is created.
///
/// hook: `start`, `key`* — supervisor: `ready` — hook: `device` — supervisor: `serving` — hook: `commit` — supervisor:
/// `committed`. In place of any of its replies the supervisor can send `failure` and end. A hook that goes away before
/// `commit` has failed, and the supervisor undoes everything.
public enum HookRequest: ChannelMessage {
    /// What the vTPM is for.
    ///
    /// Descriptors: run directory, pidfd of the init; for a persistent state also states directory, index directory.
    case start(StartRequest)
    /// A master key follows in the same message, a secret of 32 bytes.
    ///
    /// The current one comes first. An ephemeral state has none.
    case key
    /// The device of this number is to be served. Descriptor: the proxy's.
    case device(number: UInt32)
    /// A device is to be kept, with no TPM behind it, so that its number stays taken. Descriptor: the proxy's.
    case reserve
    /// The container has its devices and the lease is written: from now on the supervisor is on its own.
    case commit

    /// The numbers of the messages.
    public enum Kind: UInt8, Sendable {
        case start = 1
        case key = 2
        case device = 5
        case reserve = 7
        case commit = 8
    }

    /// A start request names eight texts, the longest of which are paths.
    public static let maximumSize = Channel.messageLimit - 1

    public var kind: Kind {
        switch self {
        case .start: .start
        case .key: .key
        case .device: .device
        case .reserve: .reserve
        case .commit: .commit
        }
    }

    public func encode(into writer: inout ByteWriter) {
        switch self {
        case .start(let request): request.encode(into: &writer)
        case .device(let number): writer.write(number)
        case .key, .reserve, .commit: break
        }
    }

    public init?(_ kind: Kind, _ contents: borrowing Message) {
        switch kind {
        case .key:
            // A secret, of which no copy is made here.
            self = .key
        case .start:
            var reader = ByteReader(contents.body)
            guard let request = StartRequest(&reader), reader.remaining == 0 else { return nil }
            self = .start(request)
        case .device:
            var reader = ByteReader(contents.body)
            guard let number = reader.read(UInt32.self), reader.remaining == 0 else { return nil }
            self = .device(number: number)
        case .reserve: self = .reserve
        case .commit: self = .commit
        }
    }
}

/// What a supervisor answers its hook.
public enum HookReply: ChannelMessage {
    /// The TPM has started up in this worker, with this libtpms, and waits for its device.
    ///
    /// Descriptor: directory of the lease, the very one that the supervisor has made.
    case ready(worker: pid_t, library: LibraryVersion)
    /// The worker reads from the device.
    case serving
    /// The supervisor has taken over.
    case committed
    /// Nothing came of it.
    case failure(Failure)

    /// The numbers of the messages.
    public enum Kind: UInt8, Sendable {
        case ready = 3
        case failure = 4
        case serving = 6
        case committed = 9
    }

    public static let maximumSize = Failure.relayedLimit

    public var kind: Kind {
        switch self {
        case .ready: .ready
        case .serving: .serving
        case .committed: .committed
        case .failure: .failure
        }
    }

    public func encode(into writer: inout ByteWriter) {
        switch self {
        case .ready(let worker, let library):
            writer.write(UInt32(bitPattern: worker))
            writer.write(library.number)
        case .serving, .committed: break
        case .failure(let failure): failure.encode(into: &writer)
        }
    }

    public init?(_ kind: Kind, _ contents: borrowing Message) {
        switch kind {
        case .ready:
            var reader = ByteReader(contents.body)
            guard let worker = reader.read(UInt32.self), let library = reader.read(UInt32.self), reader.remaining == 0
            else { return nil }
            self = .ready(worker: pid_t(bitPattern: worker), library: LibraryVersion(number: library))
        case .serving: self = .serving
        case .committed: self = .committed
        case .failure: self = .failure(contents.failure)
        }
    }
}
