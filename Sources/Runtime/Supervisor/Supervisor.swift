import CLinux
import Glibc
import Platform
import RuntimeConfinement
import RuntimeControl
import RuntimeState

/// The process that keeps one vTPM for as long as its container's init lives.
///
/// It holds the key and the state, and never looks at what the tenant sends. One thread, one poll set.
public final class Supervisor {
    let order: StartOrder
    let initProcess: ProcessReference
    let signals: Descriptor
    /// Until the end.
    var lease: LeaseDirectory?
    let buffer: ScratchBuffer
    /// Whether the state is incomplete, so that this TPM is being made.
    let manufactures: Bool

    var store: any StateKeeper
    /// The state, where this creation makes it, until the container is complete.
    var uncommitted: UncommittedState?
    var hook: Channel?
    var worker: WorkerLink?
    /// The proxy's descriptor.
    ///
    /// This copy keeps the device's number taken.
    var server: Descriptor?
    var responder = FailureResponder()
    var clients: [Channel] = []
    var lifecycle = Lifecycle()
    /// When ``Lifecycle/Event/timedOut`` comes.
    var deadline: Deadline?
    /// What the kernel calls the device, for the log.
    var deviceNumber: UInt32 = 0
    /// What a manufacture stored so far.
    var manufactured: SecretBytes?
    /// Why the container's creation was undone.
    var abandonment: Failure?

    /// How long to wait for the previous user of the same state to let go, in milliseconds.
    static let lockPatience = 10_000

    /// Lives a vTPM's life: from before the hook's first message to the end of the container.
    ///
    /// The worker's program is started while the hook still reads the container's configuration. An error has been told to
    /// the hook and written to the log when this returns.
    public static func run(hook: Channel, worker program: String) throws(Failure) {
        var container = "an unknown container"
        do {
            let signals = try prepareProcess()
            let worker = try WorkerLink.start(program: program)
            guard let orders = try Orders(from: hook, unless: signals) else { return }
            container = "container \"\(orders.order.containerID)\""
            let supervisor = try begin(orders, hook, signals, consume worker)
            defer { supervisor.letGo() }
            try supervisor.live()
        } catch {
            Log.error("\(container): \(error)")
            try? hook.send(HookMessage.failure, error)
            throw error
        }
    }

    /// Locks and loads the state, and has the worker start its TPM up.
    private static func begin(
        _ orders: consuming Orders,
        _ hook: Channel,
        _ signals: consuming Descriptor,
        _ worker: consuming WorkerLink
    ) throws(Failure) -> Supervisor {
        let order = orders.order
        try worker.confine(for: orders.initProcess.descriptor)
        // Before a state is made, for which there would be no container.
        try WorkerConfinement.requireLockableMemory()
        let lease = try LeaseDirectory(order.leaseName, in: orders.runDirectory.duplicate())
        var confinement = try SupervisorConfinement()
        let states = try orders.allowFiles(in: &confinement)
        let (store, uncommitted, state) = try openState(&orders, hook, lease, states)
        do {
            if let states, case .persistent(let storage) = order.storage {
                let name = try StateName.encoded(storage.stateID)
                let options = OpenOptions.beneath(O_RDONLY | O_DIRECTORY)
                try confinement.allowState(.open(name, options, at: states.number, as: "the state"))
                if uncommitted != nil { try confinement.allowRemoval(in: states) }
            }
            try confinement.allowLease(lease.directory)
            try worker.initialize(state)
            if !confinement.restrictsFiles {
                Log.notice("cannot restrict the files that a supervisor may reach: the kernel has no Landlock")
            }
            try confinement.enforce()
            return Supervisor(
                order: order,
                hook: hook,
                initProcess: ProcessReference(
                    owning: try orders.initProcess.descriptor.duplicate(),
                    process: order.initProcess.process
                ),
                signals: signals,
                lease: lease,
                store: store,
                uncommitted: uncommitted,
                worker: worker,
                manufactures: state == nil,
                buffer: try Channel.makeSecretBuffer()
            )
        } catch {
            uncommitted?.discard()
            throw error
        }
    }

    /// Opens what the state is kept in; with no state, a TPM is to be manufactured.
    private static func openState(
        _ orders: inout Orders,
        _ hook: Channel,
        _ lease: borrowing LeaseDirectory,
        _ states: borrowing Descriptor?
    ) throws(Failure) -> (store: any StateKeeper, uncommitted: UncommittedState?, state: SecretBytes?) {
        let order = orders.order
        guard let (repository, storage) = try orders.takeRepository() else { return (EphemeralStore(), nil, nil) }
        let user = StateUser(containerID: order.containerID, initProcess: order.initProcess, supervisor: getpid())
        let (store, payload) = try StateStore.open(
            storage.stateID,
            formerly: storage.formerStateID,
            in: repository,
            for: user,
            bundle: order.bundle,
            keptFor: storage.keptFor,
            until: Deadline(milliseconds: lockPatience),
            checking: { () throws(Failure) in try orders.checkThatItGoesOn(hook) },
            making: { (uuid) throws(Failure) in
                let made = MadeState(stateID: storage.stateID, uuid: uuid, user: user)
                try lease.write(LeaseFiles.madeState, made.encoded)
            }
        )
        guard !payload.isComplete else { return (store, nil, payload.permanent) }
        switch states {
        case .none: return (store, nil, nil)
        case .some(let states): return (store, UncommittedState(store, in: try states.duplicate()), nil)
        }
    }

    private init(
        order: StartOrder,
        hook: Channel,
        initProcess: consuming ProcessReference,
        signals: consuming Descriptor,
        lease: consuming LeaseDirectory,
        store: any StateKeeper,
        uncommitted: UncommittedState?,
        worker: WorkerLink,
        manufactures: Bool,
        buffer: ScratchBuffer
    ) {
        self.order = order
        self.hook = hook
        self.initProcess = initProcess
        self.signals = signals
        self.lease = consume lease
        self.store = store
        self.uncommitted = uncommitted
        self.worker = worker
        self.manufactures = manufactures
        self.buffer = buffer
    }

    /// Lets go of everything, in an order that others rely on.
    ///
    /// The device's number is free, no lease names it, and the state's lock is free, before the connections of those who
    /// asked for the stop are closed, which tells them that all is done (``ControlMessage/stop``).
    private func letGo() {
        worker = nil
        server = nil
        responder = FailureResponder()
        lease = nil
        uncommitted = nil
        store = EphemeralStore()
        clients = []
    }

    private static func prepareProcess() throws(Failure) -> Descriptor {
        try Hardening.protectMemory()
        // Far below an ordinary process: memory is not won by taking a container's identity.
        if try !Hardening.setOutOfMemoryScore(-900) {
            Log.notice("cannot lower the supervisor's out-of-memory score: it has no CAP_SYS_RESOURCE")
        }
        // Those that a terminal sends to all of an engine's children.
        Glibc.signal(SIGHUP, SIG_IGN)
        Glibc.signal(SIGINT, SIG_IGN)
        var set = sigset_t()
        sigemptyset(&set)
        sigaddset(&set, SIGTERM)
        try systemCall("sigprocmask", "cannot block signals") { sigprocmask(SIG_BLOCK, &set, nil) }
        return Descriptor(
            owning: try systemCall("signalfd", "cannot watch signals") { signalfd(-1, &set, CInt(SFD_CLOEXEC)) }
        )
    }

    /// The control socket's number; -1, which poll(2) passes over, at the end.
    var listener: CInt {
        switch lease {
        case .none: -1
        case .some(let lease): lease.listener.number
        }
    }

    var stateName: String {
        switch order.storage {
        case .ephemeral: "ephemeral"
        case .persistent(let storage): "state \"\(storage.stateID)\""
        }
    }

    var name: String { "vTPM of container \"\(order.containerID)\"" }
}
