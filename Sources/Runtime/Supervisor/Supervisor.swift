import CLinux
import Crypto
import Glibc
import Platform
import RuntimeConfinement
import RuntimeControl
import RuntimeLease
import RuntimeState

/// The process that keeps one vTPM for as long as its container lives.
///
/// It holds the keys and the state, and never looks at what the tenant sends. It has one thread and one poll set.
public final class Supervisor {
    let request: StartRequest
    var container: ContainerWatch
    let signals: Descriptor
    /// The lease; nil once it is removed.
    var lease: LeaseDirectory?
    let buffer: ScratchBuffer
    /// Whether the state is new, so that a TPM is manufactured, or one from the pool becomes its own.
    let manufactures: Bool

    var store: any StateSink
    /// The state that this creation makes; nil if it makes none, or if the container is complete.
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
    /// What is said between authority and worker; nil if nothing is, or once all is said.
    var endorsement: Endorsement?
    /// What is measured of the launch, while the TPM starts.
    var launch: Launch
    /// When ``Lifecycle/Event/timedOut`` comes.
    var deadline: Deadline?
    /// When the pages are given back that only the start has needed; nil before the container is complete, and once they are.
    ///
    /// By then the container's first commands, which have to share a processor with this process, are answered.
    var startupPagesEnd: Deadline?
    /// N of the host's `/dev/tpmN`, for the log.
    var deviceNumber: UInt32 = 0
    /// What the TPM has stored since this start began; it is written once the TPM is ready.
    var unwritten: SecretBytes?
    /// The container that has adopted the vTPM; nil if the vTPM was made for its container.
    var adopter: ContainerIdentity?
    /// Why the container's creation was undone.
    var abandonment: Failure?
    /// How long the writes of a persistent state have taken.
    var writeTimes = WriteTimes()

    /// How long to wait until the previous user of the same state releases it, in milliseconds.
    ///
    /// It is longer than a shutdown may take (``Lifecycle``).
    static let lockTimeout = 20_000

    /// How long after a container's creation its TPM tests itself, in milliseconds.
    ///
    /// A test of everything takes as long as a start. Of many containers that are created together, none waits for the tests of
    /// those before it.
    static let selfTestPause: UInt32 = 10_000

    /// Runs a vTPM, from before the hook's first message to the end of the container.
    ///
    /// The worker's program is started while the hook still reads the container's configuration. If this throws, the
    /// error has been sent to the hook and written to the log. A cgroup is removed in any case.
    public static func run(hook: Channel, worker program: String, in cgroup: OwnCgroup? = nil) throws(Failure) {
        var container = "an unknown container"
        defer { cgroup?.remove() }
        CryptoLibrary.prepare()
        if let notice = AESNotice.text() { Log.notice(notice) }
        do {
            guard let supervisor = try start(hook, worker: program, in: cgroup, naming: &container) else { return }
            defer { supervisor.close() }
            try supervisor.live()
        } catch {
            Log.error("\(container): \(error)", .refused, LogDetails(reason: error.kind))
            try? hook.send(HookReply.failure(error))
            throw error
        }
    }

    init(
        request: StartRequest,
        hook: Channel,
        container: consuming ContainerWatch,
        signals: consuming Descriptor,
        lease: consuming LeaseDirectory,
        store: any StateSink,
        uncommitted: UncommittedState?,
        worker: WorkerLink,
        manufactures: Bool,
        pooled: SecretBytes?,
        isEndorsed: Bool,
        launch: SecretBytes?,
        buffer: ScratchBuffer
    ) {
        self.request = request
        self.hook = hook
        self.container = container
        self.signals = signals
        self.lease = consume lease
        self.store = store
        self.uncommitted = uncommitted
        self.worker = worker
        self.manufactures = manufactures
        self.endorsement = isEndorsed ? Endorsement() : nil
        self.launch = Launch(event: launch, generation: store.generation)
        // It is written under the new state's ID as if the TPM had just been made.
        self.unwritten = pooled
        self.buffer = buffer
    }

    /// Releases everything, in an order that others rely on.
    ///
    /// The connections that wait for the stop (``ControlRequest/stop``) are closed last. By then the device's number
    /// and the state's lock are free, and no lease names the number.
    private func close() {
        releaseContainer()
        uncommitted = nil
        store = InMemoryStore()
        clients = []
    }

    /// Releases what a container has of its vTPM: the worker, the device, and then the lease, which names its number.
    func releaseContainer() {
        worker?.close()
        worker = nil
        server = nil
        responder = FailureResponder()
        if let lease = lease.take() { Self.remove(lease) }
    }

    /// Removes the lease; if that fails, it stays until poststop or the next creation removes it.
    static func remove(_ lease: consuming LeaseDirectory) {
        do throws(Failure) {
            try lease.remove()
        } catch {
            Log.error("\(error)")
        }
    }

    /// The control socket's descriptor; -1, which poll(2) ignores, once the lease is removed.
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

    /// Writes the TPM's state; when it returns, the state is as durable as it ever gets.
    func write(_ state: SecretBytes) throws(Failure) {
        let payload = StatePayload(permanent: state, isComplete: true)
        guard case .persistent = request.storage else { return try store.write(payload) }
        try writeTimes.measure { () throws(Failure) in try store.write(payload) }
    }

    var name: String { "vTPM of container \"\(request.containerID)\"" }
}
