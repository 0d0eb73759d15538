/// What the hook and the supervisor say to each other while a container is created.
///
/// hook: `start`, `key`* — supervisor: `ready` — hook: `device` — supervisor: `serving` — hook: `commit` — supervisor:
/// `committed`. In place of any of its answers the supervisor can say `failure` and end. A hook that goes away before
/// `commit` has failed, and the supervisor undoes everything.
public enum HookMessage {
    /// What the vTPM is for: ``StartOrder``.
    ///
    /// Descriptors: run directory, pidfd of the init; for a persistent state also states directory, index directory.
    public static let start: UInt8 = 1
    /// A master key, 32 bytes: the current one first, none for an ephemeral state.
    public static let key: UInt8 = 2
    /// The TPM has started up and waits for its device: process ID of the worker, 32 bits, and the version of its libtpms,
    /// 32 bits.
    ///
    /// Descriptor: directory of the lease, the very one that the supervisor has made.
    public static let ready: UInt8 = 3
    /// Nothing came of it: a ``Failure`` as text.
    public static let failure: UInt8 = 4
    /// The proxy's descriptor, to be served.
    public static let device: UInt8 = 5
    /// The worker reads from the descriptor.
    public static let serving: UInt8 = 6
    /// A proxy descriptor to keep, with no TPM behind it, so that its number stays taken.
    public static let occupy: UInt8 = 7
    /// The container has its devices and the lease is written: from now on the supervisor is on its own.
    public static let commit: UInt8 = 8
    /// The supervisor has taken over.
    public static let committed: UInt8 = 9
}

/// What the supervisor and its worker say to each other.
///
/// supervisor: `confine` — worker: `confined` — supervisor: `initialize`, `state`* — worker: `store`* … `ready` —
/// supervisor: `serve` — worker: `serving` — from then on worker: `store`*, each answered with `stored` or `refused`; at
/// the end supervisor: `shutdown`, worker: `stopped`.
public enum WorkerMessage {
    /// Begin: one byte, 1 when a state follows, 0 when a TPM is to be manufactured.
    public static let initialize: UInt8 = 1
    /// The state of an existing TPM, in chunks.
    public static let state: UInt8 = 2
    /// The TPM's whole non-volatile state, in chunks: the TPM waits until it is stored.
    public static let store: UInt8 = 3
    /// It is on stable storage.
    public static let stored: UInt8 = 4
    /// It is not, and never will be: the TPM must fail.
    public static let refused: UInt8 = 5
    /// The TPM has started up.
    public static let ready: UInt8 = 6
    /// It could not: a ``Failure`` as text.
    public static let failure: UInt8 = 7
    /// Serve this proxy descriptor.
    public static let serve: UInt8 = 8
    /// The worker reads from it.
    public static let serving: UInt8 = 9
    /// Execute TPM2_Shutdown(CLEAR) and end.
    public static let shutdown: UInt8 = 10
    /// TPM2_Shutdown was executed and its state is stored.
    public static let stopped: UInt8 = 11

    /// Give up all privileges and become this user, 32 bits; descriptor: pidfd of the init.
    public static let confine: UInt8 = 12
    /// It is done, for good: the version of its libtpms, ``LibraryVersion``, 32 bits.
    public static let confined: UInt8 = 13

    /// The largest state, in bytes: libtpms' NV memory is 176,832 bytes, its blob little more.
    public static let stateLimit = 256 * 1024
}

/// What a lease's control socket understands: one message asks, one answers.
public enum ControlMessage {
    /// How is it? Answered with ``VTPMStatus``.
    public static let status: UInt8 = 1
    /// Stop as soon as the init is gone.
    ///
    /// The connection closes when everything is cleaned up.
    public static let stop: UInt8 = 2
    /// Go over to the master key that follows, 32 bytes.
    ///
    /// Answered with ``rekeyed`` once the state on disk needs no other any more, or with ``failure``.
    public static let rekey: UInt8 = 3
    /// It is done.
    public static let rekeyed: UInt8 = 4
    /// It could not be done: a ``Failure`` as text.
    public static let failure: UInt8 = 5
}
