import Glibc
import Platform
import RuntimeConfinement
import RuntimeControl
import VTPMProxy

/// The process that answers the container: it holds the TPM, and gets no key and no file.
///
/// Every byte that it reads from the proxy comes from the tenant. The TPM's state goes to the supervisor over a
/// channel, and a command is answered only after the supervisor has acknowledged the store. Once the supervisor is
/// gone, nothing can be stored any more. Then the worker answers TPM_RC_FAILURE until the container has ended, so that
/// the device's number stays taken.
public final class Worker {
    let channel: Channel
    let buffer: ScratchBuffer
    private let command = ScratchBuffer(size: ProxyTransport.bufferSize)
    private let failureResponse = TPMCommand.response(code: TPMCommand.failure)
    /// Whether the request to shut down came while a command waited for its state to be stored.
    private var mustShutDown = false
    /// Whether the end may come without notice (``WorkerRequest/expectEnd``).
    private var expectsEnd = false
    /// Whether a state was stored since the last TPM2_Shutdown.
    ///
    /// Otherwise the next start counts no failed authorization: libtpms stores that one is used before it looks at it
    /// (SessionProcess.c, `CheckLockedOut`).
    private var isDirty = true
    /// The code of the last response.
    private var lastCode: UInt32?
    /// Whether libtpms 0.9 has asked for the same command again, as after a TPM2_Shutdown: another one must not come first.
    private var isRetried: Bool { lastCode == TPMCommand.retry }
    /// Whether the supervisor knows that the TPM has failed.
    private var hasToldFailure = false
    private var selfTest = SelfTest()
    /// When the pages are given back that only the start has needed; nil until the container is complete, and after that.
    ///
    /// The container's first commands need some of them.
    private var startupPagesEnd: Deadline?
    /// What shows the end of the container that has adopted the vTPM; nil if there is nothing new.
    var adopted: ContainerWatch?

    /// Creates a worker with the channel that the supervisor has passed.
    ///
    /// If this throws, the error has been sent to the supervisor.
    public init(channel: Channel) throws(Failure) {
        self.channel = channel
        do {
            self.buffer = try Channel.makeSecretBuffer()
        } catch {
            Self.report(error, to: channel)
            throw error
        }
    }

    /// Confines this process, starts the TPM, and serves it until its shutdown or the container's end.
    ///
    /// If this throws, the error has been sent to the supervisor.
    public func run() throws(Failure) {
        do {
            let container = try confine()
            var orders = try receiveOrders()
            let engine = try TPMEngine(
                state: orders.state,
                provision: orders.provision,
                store: { [self] (state) throws(Failure) in try store(state) },
                beforeClosing: { (engine) throws(Failure) in try executeForHost(engine) }
            )
            orders.state = nil
            selfTest.begin(of: engine)
            try channel.send(WorkerReply.ready(engine.refusedKeys, engine.resets()))
            guard let server = try receiveDevice(engine) else { return }
            try channel.send(WorkerReply.serving)
            try serve(engine, server, container)
        } catch {
            Self.report(error, to: channel)
            throw error
        }
    }

    private static func report(_ failure: Failure, to channel: Channel) {
        try? channel.send(WorkerReply.failure(failure))
    }

    // MARK: - Serving

    private func serve(
        _ engine: TPMEngine,
        _ server: borrowing Descriptor,
        _ container: consuming ContainerWatch
    ) throws(Failure) {
        var container = container
        var isOrphan = false
        var set = PollSet()
        while true {
            if let watch = adopted.take() { container = watch }
            if expectsEnd, !isOrphan, !mustShutDown { shutDownAndGoOn(engine) }
            // The request may have come while that was stored.
            if mustShutDown { return try shutDown(engine) }
            set.removeAll()
            let device = set.add(server.number)
            let other = isOrphan ? container.watch(in: &set) : set.add(channel.descriptor.number)
            if let time = nextIdleWork, !isOrphan, !expectsEnd {
                guard try set.wait(until: time) else {
                    workIdly(on: engine)
                    continue
                }
            } else {
                try set.wait(until: isOrphan ? container.nextLook : nil)
            }
            if isOrphan {
                if try container.hasEnded() { return }
            } else if set.isReady(other) {
                guard var message = try channel.receive(into: buffer) else {
                    isOrphan = true
                    continue
                }
                switch WorkerRequest(message) {
                case .shutdown: return try shutDown(engine)
                case .expectEnd:
                    expectsEnd = true
                    continue
                case .watch:
                    takeWatch(&message)
                    continue
                case .registered(let pause):
                    noteRegistration(testingAfter: pause)
                    continue
                default: break
                }
            }
            if set.events(at: device) & CInt(POLLIN) != 0 {
                guard try serveOne(engine, server, failing: isOrphan) else { return }
                if lastCode == TPMCommand.failure, !isOrphan { tellFailure(of: engine) }
            } else if set.isReady(device) {
                throw Failure("cannot serve the vTPM", because: "the kernel gave the device up")
            }
        }
    }

    func shutDown(_ engine: TPMEngine) throws(Failure) {
        guard engine.shutDown() else {
            throw Failure("cannot shut the TPM down", because: "it has failed")
        }
        try channel.send(WorkerReply.stopped)
    }

    /// Executes TPM2_Shutdown for a TPM that is used on, if anything has happened since the last time.
    ///
    /// What is executed after TPM2_Shutdown takes its effect away (Part 3, 9.4). A TPM that has failed answers so itself.
    private func shutDownAndGoOn(_ engine: TPMEngine) {
        guard isDirty, !isRetried else { return }
        if engine.shutDown() || engine.hasFailed { isDirty = false }
    }

    /// Reads, executes and answers one command; returns false if the device is gone.
    func serveOne(
        _ engine: TPMEngine,
        _ server: borrowing Descriptor,
        failing: Bool
    ) throws(Failure) -> Bool {
        guard case .command(let count) = try ProxyTransport.receive(from: server, into: command) else {
            return false
        }
        let sent = try command.withBytes { (bytes) throws(Failure) in
            let request = UnsafeMutableRawBufferPointer(rebasing: bytes[..<count])
            if failing { return try ProxyTransport.send(failureResponse, to: server) }
            if TPMCommand.requestedLocality(in: UnsafeRawBufferPointer(request)) != nil {
                return try ProxyTransport.send(TPMCommand.response(code: TPMCommand.success), to: server)
            }
            return try answer(request, engine, server)
        }
        return sent != .gone
    }

    private func answer(
        _ request: UnsafeMutableRawBufferPointer,
        _ engine: TPMEngine,
        _ server: borrowing Descriptor
    ) throws(Failure) -> ProxyTransport.Sent {
        let command = UnsafeRawBufferPointer(request)
        let code = TPMCommand.code(of: command)
        if let response = selfTest.response(to: command, of: engine) {
            lastCode = response.withUnsafeBytes { TPMCommand.responseCode(of: $0) }
            return try ProxyTransport.send(response, to: server)
        }
        let response = engine.process(request)
        lastCode = TPMCommand.responseCode(of: response)
        // What a test of everything has touched is given back as well.
        if selfTest.note(code, response: lastCode) { giveBackStartupPages() }
        return try ProxyTransport.send(response, to: server)
    }

    private func noteRegistration(testingAfter pause: UInt32) {
        selfTest.noteRegistration(testingAfter: pause)
        giveBackStartupPages()
    }

    /// Has pages given back once the device is registered and no command has come for a moment.
    private func giveBackStartupPages() { startupPagesEnd = Deadline(milliseconds: 100) }

    /// When there is something to do if no command waits; nil if there is nothing.
    private var nextIdleWork: Deadline? { startupPagesEnd ?? (selfTest.isDue ? selfTest.start : nil) }

    /// Does a piece of what a TPM does while no command waits.
    private func workIdly(on engine: TPMEngine) {
        guard startupPagesEnd == nil else {
            startupPagesEnd = nil
            return Hardening.releaseStartupPages()
        }
        selfTest.testNext(of: engine)
        guard !selfTest.isDue else { return }
        tellFailure(of: engine)
        Hardening.releaseStartupPages()
    }

    /// Has the supervisor log that the TPM is in failure mode, if it is.
    ///
    /// A supervisor that is gone is noticed by the next poll, after which the worker goes on without it.
    private func tellFailure(of engine: TPMEngine) {
        guard !hasToldFailure, let failure = engine.failureMode else { return }
        hasToldFailure = true
        try? channel.send(WorkerReply.failed(failure))
    }

    // MARK: - Storing

    /// How long the supervisor may take to store a state, in milliseconds.
    ///
    /// A disk that still works takes less. The sender of the command has given up by then: the kernel waits 5 min at
    /// most (TPM2_DURATION_LONG_LONG).
    private static let storeTimeout = 300_000

    /// Sends the state to the supervisor and waits until it is on stable storage.
    private func store(_ state: UnsafeRawBufferPointer) throws(Failure) {
        let what = "cannot store the TPM's state"
        guard state.count <= WorkerReply.stateLimit else {
            throw Failure(what, because: "it has \(state.count) bytes, and \(WorkerReply.stateLimit) is the most")
        }
        isDirty = true
        let deadline = Deadline(milliseconds: Self.storeTimeout)
        try channel.sendChunks(WorkerReply.state, of: state, until: deadline)
        while true {
            guard try wait(for: channel.descriptor.number, until: deadline) != 0 else {
                throw Failure(what, because: "the supervisor has not written it in \(Self.storeTimeout / 1000) s")
            }
            guard var response = try channel.receive(into: buffer) else { break }
            switch WorkerRequest(response) {
            case .stored: return
            case .shutdown: mustShutDown = true
            case .expectEnd: expectsEnd = true
            case .watch: takeWatch(&response)
            case .registered(let pause): noteRegistration(testingAfter: pause)
            case .refused: throw Failure(what, because: "the supervisor could not write it")
            default: throw Failure(what, because: "the supervisor sent message \(response.kind) out of turn")
            }
        }
        throw Failure(what, because: "the supervisor is gone")
    }
}
