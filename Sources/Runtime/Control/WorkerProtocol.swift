import Platform
import VTPMProxy

/// A message of a supervisor to its worker.
///
/// supervisor: `confine` — worker: `confined` — supervisor: `initialize`, `state`* — worker: `state`* …, `open` — if the TPM is to
/// be endorsed supervisor: `execute` — worker: `response` … supervisor: `launch`*, `close` — worker: `state`* …, `ready` —
/// supervisor: `serve` — worker: `serving` — from then on worker: `state`*, each answered with `stored` or `refused`;
/// once supervisor: `registered`; worker: `failed` if the TPM fails;
/// before the end supervisor: `expectEnd`, and at the end supervisor: `shutdown`, worker: `stopped`.
public enum WorkerRequest: ChannelMessage {
    /// Asks to give up all privileges and become this user, with this BPF program as the filter of system calls.
    ///
    /// Descriptors: a network namespace, and those of the container's ``ContainerWatch``.
    case confine(user: UInt32, filter: [UInt8])
    /// Asks to start the TPM, from the state that follows or by manufacturing one with these banks of PCRs, and to put
    /// those of these keys at their handles that are not there.
    ///
    /// The platform hierarchy then stays open, for commands of the host, until ``close(instance:)``.
    case initialize(hasState: Bool, TPMProvision)
    /// Hands over a chunk of an existing TPM's state, which follows in the same message, a secret of at most
    /// ``Channel/chunkSize`` bytes.
    case state
    /// Says that the state is on stable storage.
    case stored
    /// Says that the state could not be stored, so that the TPM must fail.
    case refused
    /// Asks to serve the device.
    ///
    /// Descriptor: the proxy's.
    case serve
    /// Asks to execute TPM2_Shutdown(CLEAR) and to end.
    case shutdown
    /// Says that the end may come without notice, as at a shutdown of the host: the TPM goes on, and TPM2_Shutdown(CLEAR)
    /// is executed at once and after each command that changes the state.
    case expectEnd
    /// Replaces what shows the container's end: a vTPM that was prepared for a runtime has got its container.
    ///
    /// Descriptors: those of the container's ``ContainerWatch``.
    case watch
    /// Says that the kernel has registered the device, and the container is complete: from now on the TPM tests itself
    /// when no command waits, so many milliseconds later, and executes each TPM2_SelfTest.
    case registered(selfTestAfter: UInt32)
    /// Hands over a command of the host's, which follows in the same message, before the tenant has the TPM.
    case execute
    /// Hands over a chunk of the event about what runs (``TaggedEvent/launch``), which follows in the same message.
    case launch
    /// Says that nothing of the host's follows: the launch is measured, if there was one, and the platform hierarchy is closed
    /// for good.
    ///
    /// `instance` is the event about the instance (``TaggedEvent/instance``); empty without a launch.
    case close(instance: [UInt8])

    /// The numbers of the messages.
    public enum Kind: UInt8, Sendable {
        case initialize = 1
        case state = 2
        case stored = 4
        case refused = 5
        case serve = 8
        case shutdown = 10
        case confine = 12
        case expectEnd = 14
        case watch = 16
        case registered = 18
        case execute = 20
        case close = 22
        case launch = 24
    }

    /// The largest filter, in bytes: half of the 4,096 instructions that the kernel takes (BPF_MAXINSNS).
    public static let filterLimit = 16 << 10

    public static let maximumSize = 6 + filterLimit

    public var kind: Kind {
        switch self {
        case .confine: .confine
        case .initialize: .initialize
        case .state: .state
        case .stored: .stored
        case .refused: .refused
        case .serve: .serve
        case .shutdown: .shutdown
        case .expectEnd: .expectEnd
        case .watch: .watch
        case .registered: .registered
        case .execute: .execute
        case .launch: .launch
        case .close: .close
        }
    }

    public func encode(into writer: inout ByteWriter) {
        switch self {
        case .confine(let user, let filter):
            writer.write(user)
            writer.write(UInt16(clamping: filter.count))
            writer.write(filter)
        case .initialize(let hasState, let provision):
            writer.write(UInt8(hasState ? 1 : 0))
            provision.encode(into: &writer)
        case .close(let instance):
            writer.write(UInt16(clamping: instance.count))
            writer.write(instance)
        case .registered(let pause): writer.write(pause)
        case .state, .stored, .refused, .serve, .shutdown, .expectEnd, .watch, .execute, .launch: break
        }
    }

    public init?(_ kind: Kind, _ contents: borrowing Message) {
        switch kind {
        case .confine:
            var reader = ByteReader(contents.body)
            guard let user = reader.read(UInt32.self), let size = reader.read(UInt16.self),
                let filter = reader.read(count: Int(size)), reader.remaining == 0
            else { return nil }
            self = .confine(user: user, filter: filter)
        case .initialize:
            var reader = ByteReader(contents.body)
            guard let hasState = reader.read(UInt8.self), hasState < 2, let provision = TPMProvision(&reader),
                reader.remaining == 0
            else { return nil }
            self = .initialize(hasState: hasState == 1, provision)
        case .state:
            // A secret, of which no copy is made here.
            self = .state
        case .stored: self = .stored
        case .refused: self = .refused
        case .serve: self = .serve
        case .shutdown: self = .shutdown
        case .expectEnd: self = .expectEnd
        case .watch: self = .watch
        // Nothing is decoded: the worker hands the command to the TPM.
        case .execute: self = .execute
        // The worker measures it as it is.
        case .launch: self = .launch
        case .close:
            var reader = ByteReader(contents.body)
            guard let size = reader.read(UInt16.self), size <= TaggedEvent.instanceLimit,
                let instance = reader.read(count: Int(size)), reader.remaining == 0
            else { return nil }
            self = .close(instance: instance)
        case .registered:
            var reader = ByteReader(contents.body)
            guard let pause = reader.read(UInt32.self), reader.remaining == 0 else { return nil }
            self = .registered(selfTestAfter: pause)
        }
    }
}

/// A message of a worker to its supervisor; a tenant may have taken the worker over.
public enum WorkerReply: ChannelMessage {
    /// The worker has given up all privileges for good; this is the version of its libtpms.
    case confined(LibraryVersion)
    /// A chunk of the TPM's whole non-volatile state follows in the same message, as in ``WorkerRequest/state``.
    ///
    /// The TPM waits until the state is stored.
    case state
    /// The TPM has started up and waits for what the host has for it (``WorkerRequest/execute``, ``WorkerRequest/launch``).
    case open
    /// The response to such a command follows in the same message.
    case response
    /// The TPM has started up; these keys are not at their handles, and it was started so often.
    case ready([RefusedKey], TPMResets)
    /// The worker reads from the device.
    case serving
    /// TPM2_Shutdown was executed and its state is stored.
    case stopped
    /// The worker could not do what it was asked for, and ends.
    case failure(Failure)
    /// The TPM is in failure mode, and answers so by itself.
    case failed(Failure)

    /// The numbers of the messages.
    public enum Kind: UInt8, Sendable {
        case state = 3
        case ready = 6
        case failure = 7
        case serving = 9
        case stopped = 11
        case confined = 13
        case failed = 15
        case open = 17
        case response = 19
    }

    public static let maximumSize = Failure.relayedLimit

    /// The largest state, in bytes: libtpms' NV memory is 176,832 bytes, its blob little more.
    public static let stateLimit = 256 * 1024

    public var kind: Kind {
        switch self {
        case .confined: .confined
        case .state: .state
        case .ready: .ready
        case .serving: .serving
        case .stopped: .stopped
        case .failure: .failure
        case .failed: .failed
        case .open: .open
        case .response: .response
        }
    }

    public func encode(into writer: inout ByteWriter) {
        switch self {
        case .confined(let library): writer.write(library.number)
        case .failure(let failure), .failed(let failure): failure.encode(into: &writer)
        case .ready(let refused, let resets):
            writer.write(UInt8(clamping: refused.count))
            for key in refused { key.encode(into: &writer) }
            resets.encode(into: &writer)
        case .state, .serving, .stopped, .open, .response: break
        }
    }

    public init?(_ kind: Kind, _ contents: borrowing Message) {
        switch kind {
        case .confined:
            var reader = ByteReader(contents.body)
            guard let library = reader.read(UInt32.self), reader.remaining == 0 else { return nil }
            self = .confined(LibraryVersion(number: library))
        case .state:
            // A secret, of which no copy is made here.
            self = .state
        case .ready:
            var reader = ByteReader(contents.body)
            guard let refused = RefusedKey.list(&reader), let resets = TPMResets(&reader), reader.remaining == 0
            else { return nil }
            self = .ready(refused, resets)
        case .serving: self = .serving
        case .stopped: self = .stopped
        case .failure: self = .failure(contents.failure)
        case .failed: self = .failed(contents.failure)
        case .open: self = .open
        // Nothing is decoded: the supervisor hands it on.
        case .response: self = .response
        }
    }
}
