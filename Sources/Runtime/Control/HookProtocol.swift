import Glibc
import Platform

/// A message of a hook to its supervisor, while a container is created.
///
/// supervisor: `started` — hook: `start`, `key`*, `state`*, `launch`* — supervisor: for a TPM that is to be endorsed `needsAuthority` —
/// hook: `authority` — supervisor: `ready` — hook: `reserve`*, `device` — supervisor:
/// `serving` — hook: `commit` — supervisor: `committed`. Instead of any reply, the supervisor can send `failure` and
/// end. If the hook ends before `commit`, the supervisor undoes everything.
///
/// A vTPM that was prepared before its container has an init is `serving` for the process that will become the runtime.
/// The channel then passes to the hook of that container, and `adopt` — supervisor: `adopted` come before `commit`.
public enum HookRequest: ChannelMessage {
    /// Asks for a vTPM.
    ///
    /// Descriptors: the run directory; the pidfd of the init and, if the request names a cgroup, that one's
    /// ``CgroupEvents/name``; for a persistent state also the directories of the states and of the index.
    case start(StartRequest)
    /// Hands over a master key, which follows in the same message, a secret of 32 bytes.
    ///
    /// The current key comes first. For an ephemeral state there is none.
    case key
    /// Hands over a chunk of the state of a TPM from the pool, which follows in the same message, a secret of at most
    /// ``Channel/chunkSize`` bytes.
    case state
    /// Hands over a chunk of the event about what runs (``TaggedEvent/launch``), which follows in the same message.
    case launch
    /// Asks to serve the device with this number.
    ///
    /// Descriptor: the proxy's.
    case device(number: UInt32)
    /// Asks to keep a device without a TPM, so that its number stays taken.
    ///
    /// Descriptor: the proxy's.
    case reserve
    /// Names the container of a vTPM that was prepared for a runtime: its end is the vTPM's from now on.
    ///
    /// Descriptors: the pidfd of the init and, if a cgroup is named, that one's ``CgroupEvents/name``.
    case adopt(ContainerIdentity)
    /// Hands over the certificate authority that ``HookReply/needsAuthority(isNew:)`` asks for.
    ///
    /// Descriptor: the channel to it. Without one there is no authority, and a TPM from before starts as it is.
    case authority
    /// Says that the container has its devices, and that the lease is written.
    ///
    /// From then on the supervisor works without the hook.
    case commit

    /// The numbers of the messages.
    public enum Kind: UInt8, Sendable {
        case start = 1
        case key = 2
        case device = 5
        case reserve = 7
        case commit = 8
        case adopt = 11
        case authority = 14
        case state = 15
        case launch = 16
    }

    /// A start request names ten texts, the longest of which are paths.
    public static let maximumSize = Channel.messageLimit - 1

    public var kind: Kind {
        switch self {
        case .start: .start
        case .key: .key
        case .device: .device
        case .reserve: .reserve
        case .commit: .commit
        case .adopt: .adopt
        case .authority: .authority
        case .state: .state
        case .launch: .launch
        }
    }

    public func encode(into writer: inout ByteWriter) {
        switch self {
        case .start(let request): request.encode(into: &writer)
        case .device(let number): writer.write(number)
        case .adopt(let container): container.encode(into: &writer)
        case .key, .state, .launch, .reserve, .commit, .authority: break
        }
    }

    public init?(_ kind: Kind, _ contents: borrowing Message) {
        switch kind {
        case .key:
            // A secret, of which no copy is made here; nor is one of a state.
            self = .key
        case .state: self = .state
        case .launch: self = .launch
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
        case .authority: self = .authority
        case .adopt:
            var reader = ByteReader(contents.body)
            guard let container = ContainerIdentity(&reader), reader.remaining == 0 else { return nil }
            self = .adopt(container)
        }
    }
}

/// A reply of a supervisor to its hook.
public enum HookReply: ChannelMessage {
    /// The process of the worker has been started, the supervisor's child.
    ///
    /// It comes before the hook's request.
    case started(worker: pid_t)
    /// The TPM has no record of its endorsement, or not all that the request asks for.
    case needsAuthority(isNew: Bool)
    /// The TPM has started up, and waits for its device.
    ///
    /// Descriptor: the directory of the lease, the very one that the supervisor has made.
    case ready(StartedTPM)
    /// The worker reads from the device.
    case serving
    /// The supervisor has taken over.
    case committed
    /// The vTPM belongs to the container that was named.
    case adopted
    /// The supervisor could not start the vTPM, and ends.
    case failure(Failure)

    /// The numbers of the messages.
    public enum Kind: UInt8, Sendable {
        case ready = 3
        case failure = 4
        case serving = 6
        case committed = 9
        case started = 10
        case adopted = 12
        case needsAuthority = 13
    }

    public static let maximumSize = StartedTPM.sizeLimit

    public var kind: Kind {
        switch self {
        case .started: .started
        case .ready: .ready
        case .serving: .serving
        case .committed: .committed
        case .adopted: .adopted
        case .failure: .failure
        case .needsAuthority: .needsAuthority
        }
    }

    public func encode(into writer: inout ByteWriter) {
        switch self {
        case .started(let worker): writer.write(UInt32(bitPattern: worker))
        case .ready(let started): started.encode(into: &writer)
        case .needsAuthority(let isNew): writer.write(UInt8(isNew ? 1 : 0))
        case .serving, .committed, .adopted: break
        case .failure(let failure): failure.encode(into: &writer)
        }
    }

    public init?(_ kind: Kind, _ contents: borrowing Message) {
        switch kind {
        case .started:
            var reader = ByteReader(contents.body)
            guard let worker = reader.read(UInt32.self), reader.remaining == 0 else { return nil }
            self = .started(worker: pid_t(bitPattern: worker))
        case .ready:
            var reader = ByteReader(contents.body)
            guard let started = StartedTPM(&reader), reader.remaining == 0 else { return nil }
            self = .ready(started)
        case .serving: self = .serving
        case .committed: self = .committed
        case .adopted: self = .adopted
        case .needsAuthority:
            var reader = ByteReader(contents.body)
            guard let isNew = reader.read(UInt8.self), isNew < 2, reader.remaining == 0 else { return nil }
            self = .needsAuthority(isNew: isNew == 1)
        case .failure: self = .failure(contents.failure)
        }
    }
}
