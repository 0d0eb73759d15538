import CLinux
import Glibc
import Platform
import RuntimeConfinement
import RuntimeControl
import RuntimeLease
import RuntimeState

/// The process that keeps one vTPM for as long as its container's init lives.
///
/// It holds the key and the state, and never looks at what the tenant sends. One thread, one poll set.
public final class Supervisor {
    let request: StartRequest
    let initProcess: ProcessHandle
    let signals: Descriptor
    /// Until the end.
    var lease: LeaseDirectory?
    let buffer: ScratchBuffer
    /// Whether the state is incomplete, so that this TPM is being made.
    let manufactures: Bool

    var store: any StateSink
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
    static let lockTimeout = 10_000

    /// Lives a vTPM's life: from before the hook's first message to the end of the container.
    ///
    /// The worker's program is started while the hook still reads the container's configuration. An error has been told to
    /// the hook and written to the log when this returns.
    public static func run(hook: Channel, worker program: String) throws(Failure) {
        var container = "an unknown container"
        do {
            guard let supervisor = try start(hook, worker: program, naming: &container) else { return }
            defer { supervisor.close() }
            try supervisor.live()
        } catch {
            Log.error("\(container): \(error)", .refused)
            try? hook.send(HookReply.failure(error))
            throw error
        }
    }

    init(
        request: StartRequest,
        hook: Channel,
        initProcess: consuming ProcessHandle,
        signals: consuming Descriptor,
        lease: consuming LeaseDirectory,
        store: any StateSink,
        uncommitted: UncommittedState?,
        worker: WorkerLink,
        manufactures: Bool,
        buffer: ScratchBuffer
    ) {
        self.request = request
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
    /// asked for the stop are closed, which tells them that all is done (``ControlRequest/stop``).
    private func close() {
        worker?.close()
        worker = nil
        server = nil
        responder = FailureResponder()
        if let lease = lease.take() { Self.remove(lease) }
        uncommitted = nil
        store = InMemoryStore()
        clients = []
    }

    /// Removes the lease; on an error it stays, and is somebody else's to remove.
    static func remove(_ lease: consuming LeaseDirectory) {
        do throws(Failure) {
            try lease.remove()
        } catch {
            Log.error("\(error)")
        }
    }

    /// The control socket's number; -1, which poll(2) passes over, at the end.
    var listener: CInt {
        switch lease {
        case .none: -1
        case .some(let lease): lease.listener.number
        }
    }

    var stateName: String {
        switch request.storage {
        case .ephemeral: "ephemeral"
        case .persistent(let storage): "state \"\(storage.stateID)\""
        }
    }

    var name: String { "vTPM of container \"\(request.containerID)\"" }
}
