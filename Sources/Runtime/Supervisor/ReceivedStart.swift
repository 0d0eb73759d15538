import Glibc
import Platform
import RuntimeConfinement
import RuntimeControl
import RuntimeHostTPM
import RuntimeState

/// A hook's request to start a vTPM, with the descriptors and keys that came with it.
struct ReceivedStart: ~Copyable {
    let request: StartRequest
    let runDirectory: Descriptor
    let container: ContainerWatch
    private let keys: [MasterKey]
    /// The state of a TPM from the pool; nil if there is none.
    private let pooled: SecretBytes?
    /// The event about what runs; nil if the launch is not measured.
    let launch: SecretBytes?
    private var states: Descriptor?
    private var indexDirectory: Descriptor?

    /// How long the hook may take for the keys, in milliseconds.
    private static let timeout = 10_000

    /// Receives the request; returns nil if the hook ended first.
    ///
    /// It waits without limit, since it notices the hook's end.
    init?(from hook: Channel, unless signals: borrowing Descriptor) throws(Failure) {
        let buffer = try Channel.makeSecretBuffer()
        var set = PollSet()
        let (request, signal) = (set.add(hook.descriptor.number), set.add(signals.number))
        try set.wait()
        guard set.isReady(request) || !set.isReady(signal) else {
            throw Failure("cannot start the supervisor", because: "SIGTERM came before the hook's request")
        }
        guard var message = try hook.receive(into: buffer) else { return nil }
        guard case .start(let request)? = HookRequest(message), let runDirectory = message.descriptors.take(),
            let initProcess = message.descriptors.take()
        else {
            throw Failure("cannot start the supervisor", because: "the hook sent no request")
        }
        var cgroupEvents: Descriptor?
        if request.cgroup != nil {
            guard let events = message.descriptors.take() else {
                throw Failure("cannot start the supervisor", because: "the hook sent no control group")
            }
            cgroupEvents = consume events
        }
        let deadline = Deadline(milliseconds: Self.timeout)
        var keys: [MasterKey] = []
        var pooled: SecretBytes?
        var states: Descriptor?
        var indexDirectory: Descriptor?
        if case .persistent(let storage) = request.storage {
            states = message.descriptors.take()
            indexDirectory = message.descriptors.take()
            for _ in 0..<storage.keyCount { keys.append(try Self.receiveKey(hook, buffer, until: deadline)) }
            if request.pooled != nil { pooled = try Self.receive(.state, hook, buffer, until: deadline) }
        }
        let launch = request.isMeasured ? try Self.receive(.launch, hook, buffer, until: deadline) : nil
        self.states = consume states
        self.indexDirectory = consume indexDirectory
        self.pooled = pooled
        self.launch = launch
        self.keys = keys
        self.request = request
        self.runDirectory = runDirectory
        self.container = ContainerWatch(initProcess: initProcess, cgroupEvents: cgroupEvents)
    }

    /// Opens the states with the keys and directories; returns nil for an ephemeral state.
    mutating func takeRepository() throws(Failure) -> (repository: StateRepository, storage: PersistentStorage)? {
        guard case .persistent(let storage) = request.storage else { return nil }
        guard let states = states.take(), let indexDirectory = indexDirectory.take(),
            let current = keys.first, keys.count <= 2
        else {
            throw Failure("cannot start the supervisor", because: "the hook gave no directories or no key")
        }
        let ring = KeyRing(current, previous: keys.count == 2 ? keys[1] : nil)
        let index = try HostIndex(
            in: indexDirectory,
            path: storage.indexPath,
            keys: ring,
            counter: storage.counter.map { HostTPMCounter(device: $0.device, handle: $0.handle) }
        )
        let repository = StateRepository(in: states, path: storage.statesPath, keys: ring, index: index)
        return (repository, storage)
    }

    /// Allows the files that the supervisor needs beside its own state and lease.
    ///
    /// Call it before ``takeRepository()``. Returns the directory of the states, or nil for an ephemeral state.
    borrowing func allowFiles(in confinement: inout SupervisorConfinement) throws(Failure) -> Descriptor? {
        try confinement.allowRemoval(in: runDirectory)
        if case .persistent(let storage) = request.storage, let counter = storage.counter {
            try confinement.allowDevice(counter.device)
        }
        switch indexDirectory {
        case .some(let directory): try confinement.allowIndex(directory)
        case .none: break
        }
        switch states {
        case .some(let directory): return try directory.duplicate()
        case .none: return nil
        }
    }

    /// Returns the state of the TPM from the pool; nil if there is none, or if another version of libtpms made it.
    borrowing func pooled(for library: LibraryVersion?) -> SecretBytes? {
        guard let pooled, let maker = request.pooled else { return nil }
        if maker == library { return pooled }
        let here = library.map { "\($0)" } ?? "unknown"
        Log.notice("a TPM of the pool is thrown away: libtpms \(maker) made it, and here is \(here)")
        return nil
    }

    /// Throws if the init or the hook has ended.
    ///
    /// It is called while the supervisor waits for a lock, when nothing else notices that.
    borrowing func checkCancellation(_ hook: Channel) throws(Failure) {
        guard try container.isInitAlive() else {
            throw Failure("cannot start the vTPM", because: "the container's init ended")
        }
        let events = try wait(for: hook.descriptor.number, 0, until: Deadline(milliseconds: 0))
        guard events & CInt(POLLHUP) == 0 else {
            throw Failure("cannot start the vTPM", because: "the hook ended before the container was complete")
        }
    }

    /// Receives what comes in chunks of one kind: the state of a TPM from the pool, or the event about what runs.
    private static func receive(
        _ kind: HookRequest.Kind,
        _ hook: Channel,
        _ buffer: ScratchBuffer,
        until deadline: Deadline
    ) throws(Failure) -> SecretBytes {
        defer { buffer.wipe() }
        var incoming = IncomingState(from: "hook", failing: "cannot start the supervisor")
        while true {
            guard try wait(for: hook.descriptor.number, until: deadline) != 0,
                let message = try hook.receive(into: buffer), HookRequest.Kind(rawValue: message.kind) == kind
            else {
                let what = kind == .state ? "state of a TPM from the pool" : "statement about the launch"
                throw Failure("cannot start the supervisor", because: "the hook gave no \(what)")
            }
            if let state = try incoming.take(message) { return state }
        }
    }

    private static func receiveKey(
        _ hook: Channel,
        _ buffer: ScratchBuffer,
        until deadline: Deadline
    ) throws(Failure) -> MasterKey {
        defer { buffer.wipe() }
        let key = try SecretBytes(capacity: MasterKey.size)
        guard try wait(for: hook.descriptor.number, until: deadline) != 0,
            let message = try hook.receive(into: buffer), case .key? = HookRequest(message), message.append(to: key)
        else {
            throw Failure("cannot start the supervisor", because: "the hook gave no key")
        }
        return try MasterKey(key)
    }
}
