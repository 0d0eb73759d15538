import AuthorityClient
import Glibc
import Platform
import RuntimeControl
import RuntimePool
import RuntimeState
import VTPMProxy

/// A real supervisor and worker; this program does what the hook does.
final class OurTPM: RunningTPM {
    /// A supervisor that was started, and what its hook has: the conversation is yet to come.
    struct Start {
        let hook: Channel
        let supervisor: RunningProgram

        /// Starts the supervisor's program; `tracer` is what it is started with, if it is to be watched.
        init(in place: Place, environment: [String], tracer: [String] = []) throws(Failure) {
            let pair = try Channel.pair(near: "hook", far: "supervisor")
            let program = "\(place.programs)/vtpm-supervisor"
            var launch =
                tracer.isEmpty
                ? ProgramLaunch(program, ["vtpm-supervisor", "\(place.programs)/vtpm-worker"])
                : ProgramLaunch(tracer[0], tracer + [program, "\(place.programs)/vtpm-worker"])
            launch.environment = environment
            launch.passed = [pair.far.descriptor.number]
            launch.ownSession = true
            hook = pair.near
            supervisor = try RunningProgram(launch)
        }

        /// The supervisor's next message.
        func receive(into buffer: ScratchBuffer) throws(Failure) -> Message {
            guard let message = try hook.receive(into: buffer) else {
                throw Failure("cannot start a vTPM", because: "the supervisor ended")
            }
            return message
        }
    }

    /// What an order to a supervisor is given with it.
    struct Directories: ~Copyable {
        let run: Descriptor
        let states: Descriptor
        let index: Descriptor

        init(of place: Place) throws(Failure) {
            let run = try Descriptor.open("\(place.directory)/run", .directory)
            let states = try Descriptor.open("\(place.directory)/states", .directory)
            let index = try Descriptor.open("\(place.directory)/index", .directory)
            self.run = run
            self.states = states
            self.index = index
        }

        func numbers(for initProcess: FakeInit) -> [CInt] {
            [run.number, initProcess.reference.descriptor.number, states.number, index.number]
        }
    }

    private let start: Start
    private let worker: pid_t
    let device: Device
    private let initProcess: FakeInit
    private var hasBeenReaped = false
    /// The event about the instance; empty if the launch was not measured.
    private(set) var instance: [UInt8] = []

    /// Takes over a vTPM that is committed.
    init(_ start: Start, worker: pid_t, device: Device, of initProcess: FakeInit) {
        (self.start, self.worker, self.device, self.initProcess) = (start, worker, device, initProcess)
    }

    convenience init(
        _ name: String,
        in place: Place,
        for initProcess: FakeInit,
        tracer: [String] = [],
        isEndorsed: Bool = false,
        measuring event: [UInt8]? = nil,
        claiming claim: (() throws(Failure) -> PooledTPM?)? = nil
    ) throws(Failure) {
        let start = try Start(in: place, environment: ProgramLaunch.plainEnvironment, tracer: tracer)
        let hook = start.hook
        let storage = PersistentStorage(
            stateID: name,
            statesPath: "\(place.directory)/states",
            indexPath: "\(place.directory)/index"
        )
        let pooled = try claim?()
        let request = StartRequest(
            storage: .persistent(storage),
            containerID: name,
            bundle: place.directory,
            leaseName: name,
            initProcess: initProcess.identity,
            keys: isEndorsed ? RequestedKeys(ofNew: .standard, ofExisting: .standard) : .none,
            endorsement: isEndorsed ? .certificates : .none,
            pooled: pooled?.library,
            isMeasured: event != nil
        )
        let directories = try Directories(of: place)
        try hook.send(HookRequest.start(request), descriptors: directories.numbers(for: initProcess))
        try hook.send(HookRequest.key, try Place.secretKey())
        try pooled?.state.withBytes { (bytes) throws(Failure) in try hook.sendChunks(HookRequest.state, of: bytes) }
        if let event { try hook.sendChunks(HookRequest.launch, of: event) }

        let buffer = Channel.makeBuffer()
        func reply() throws(Failure) -> HookReply? {
            let reply = HookReply(try start.receive(into: buffer))
            if case .failure(let failure)? = reply { throw failure }
            return reply
        }
        let outOfTurn = Failure("cannot start a vTPM", because: "its supervisor's reply makes no sense")
        guard case .started(let worker)? = try reply() else { throw outOfTurn }
        var next = try reply()
        if isEndorsed, case .needsAuthority? = next {
            let authority = try Self.authority(for: request, in: place)
            try hook.send(HookRequest.authority, descriptors: [authority.channel.descriptor.number])
            next = try reply()
            authority.process.end()
        }
        guard case .ready(let started)? = next else { throw outOfTurn }
        let ends = try Device.pair()
        try hook.send(HookRequest.device(number: 0), descriptors: [ends.far.number])
        guard case .serving? = try reply() else { throw outOfTurn }
        try hook.send(HookRequest.commit)
        guard case .committed? = try reply() else { throw outOfTurn }
        self.init(start, worker: worker, device: Device(owning: ends.near), of: initProcess)
        instance = started.instance
    }

    /// Starts a certificate authority, as the hook does.
    private static func authority(for request: StartRequest, in place: Place) throws(Failure) -> StartedAuthority {
        let host = HostPaths(below: place.directory, programs: place.programs)
        return try CertificateAuthority(host, keys: KeyRing(MasterKey(Place.secretKey()))).start(
            EndorsementOrders(
                level: .certificates,
                keys: .standard,
                containerID: request.containerID,
                bundle: request.bundle,
                image: "",
                stateID: request.containerID,
                time: UInt64(clamping: time(nil)),
                chain: []
            )
        )
    }

    deinit {
        guard !hasBeenReaped else { return }
        start.supervisor.kill()
        kill(worker, SIGKILL)
        _ = try? start.supervisor.wait()
    }

    /// The supervisor, or what watches it, and the worker.
    var processes: [pid_t] { [start.supervisor.process, worker] }

    func stop() throws(Failure) {
        initProcess.end()
        hasBeenReaped = true
        guard try start.supervisor.wait() == .exited(0) else {
            throw Failure("cannot stop a vTPM", because: "its supervisor failed: see the system log")
        }
    }
}
