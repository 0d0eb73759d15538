import Crypto
import Glibc
import Platform
import RuntimeControl
import RuntimeState

/// What is compared.
enum Side: String, CaseIterable {
    /// A supervisor and its worker.
    case ours
    /// `swtpm chardev`.
    case swtpm
}

/// Where a run's files and programs are.
struct Place {
    /// The directory with our programs.
    var programs: String
    /// A directory of the run's own.
    var directory: String

    /// A key of 256 bits, for both sides.
    static let key = [UInt8](repeating: 0x5a, count: 32)

    /// The file with ``key`` in hexadecimal digits, for swtpm.
    var keyFile: String { "\(directory)/key" }

    /// The directory of one state of a side.
    func state(_ side: Side, _ name: String) -> String { "\(directory)/\(side.rawValue)/\(name)" }

    /// Makes what both sides need.
    func prepare() throws(Failure) {
        for folder in ["run", "states", "index", "swtpm"] { _ = try openOwnDirectory("\(directory)/\(folder)") }
        let file = try Descriptor.open(keyFile, OpenOptions(O_WRONLY | O_CREAT | O_TRUNC, mode: 0o600))
        try file.writeAll(Array(Hexadecimal.encode(Self.key).utf8), keyFile)
    }
}

/// A container's init, as far as it matters here: a process that lives until it is killed.
final class FakeInit {
    let process: RunningProgram
    let identity: ProcessID
    let reference: ProcessHandle
    private var hasBeenReaped = false

    init() throws(Failure) {
        let process = try RunningProgram(ProgramLaunch("/bin/sleep", ["sleep", "infinity"]))
        self.process = process
        identity = try ProcessID(of: process.process)
        reference = try ProcessHandle(process.process)
    }

    deinit { end() }

    func end() {
        guard !hasBeenReaped else { return }
        hasBeenReaped = true
        process.kill()
        _ = try? process.wait()
    }
}

/// A TPM that is running.
protocol RunningTPM: AnyObject {
    /// The processes that it consists of.
    var processes: [pid_t] { get }
    /// Where it answers commands.
    var device: Device { get }
    /// Ends it as the end of a container does, and waits until all of it is gone.
    func stop() throws(Failure)
}

extension Side {
    /// Starts a TPM on the state of this name, encrypted, and waits for its first answer.
    func start(_ name: String, in place: Place, for initProcess: FakeInit) throws(Failure) -> any RunningTPM {
        let tpm: any RunningTPM =
            switch self {
            case .ours: try OurTPM(name, in: place, for: initProcess)
            case .swtpm: try SWTPM(name, in: place)
            }
        try tpm.device.run(Commands.getRandom)
        return tpm
    }
}

/// A real supervisor and worker; this program does what the hook does.
final class OurTPM: RunningTPM {
    private let hook: Channel
    private let supervisor: RunningProgram
    private let worker: pid_t
    let device: Device
    private let initProcess: FakeInit
    private var hasBeenReaped = false

    init(_ name: String, in place: Place, for initProcess: FakeInit) throws(Failure) {
        let states = try Descriptor.open("\(place.directory)/states", .directory)
        let index = try Descriptor.open("\(place.directory)/index", .directory)
        let run = try Descriptor.open("\(place.directory)/run", .directory)
        let pair = try Channel.pair(near: "hook", far: "supervisor")
        var launch = ProgramLaunch(
            "\(place.programs)/vtpm-supervisor",
            ["vtpm-supervisor", "\(place.programs)/vtpm-worker"]
        )
        launch.passed = [pair.far.descriptor.number]
        launch.ownSession = true
        let hook = pair.near
        let supervisor = try RunningProgram(launch)
        let storage = PersistentStorage(
            stateID: name,
            statesPath: "\(place.directory)/states",
            indexPath: "\(place.directory)/index"
        )
        let request = StartRequest(
            storage: .persistent(storage),
            containerID: name,
            bundle: place.directory,
            leaseName: name,
            initProcess: initProcess.identity
        )
        let given = [run.number, initProcess.reference.descriptor.number, states.number, index.number]
        try hook.send(HookRequest.start(request), descriptors: given)
        let key = try SecretBytes(capacity: Place.key.count)
        _ = key.append(copying: Place.key)
        try hook.send(HookRequest.key, key)

        let buffer = Channel.makeBuffer()
        func reply() throws(Failure) -> HookReply? {
            guard let message = try hook.receive(into: buffer) else {
                throw Failure("cannot start a vTPM", because: "the supervisor ended")
            }
            let reply = HookReply(message)
            if case .failure(let failure)? = reply { throw failure }
            return reply
        }
        let outOfTurn = Failure("cannot start a vTPM", because: "its supervisor's reply makes no sense")
        guard case .started(let worker)? = try reply(), case .ready? = try reply() else { throw outOfTurn }
        self.worker = worker
        let ends = try Device.pair()
        try hook.send(HookRequest.device(number: 0), descriptors: [ends.far.number])
        guard case .serving? = try reply() else { throw outOfTurn }
        try hook.send(HookRequest.commit)
        guard case .committed? = try reply() else { throw outOfTurn }
        device = Device(owning: ends.near)
        self.hook = hook
        self.supervisor = supervisor
        self.initProcess = initProcess
    }

    deinit {
        guard !hasBeenReaped else { return }
        supervisor.kill()
        kill(worker, SIGKILL)
        _ = try? supervisor.wait()
    }

    var processes: [pid_t] { [supervisor.process, worker] }

    func stop() throws(Failure) {
        initProcess.end()
        hasBeenReaped = true
        guard try supervisor.wait() == .exited(0) else {
            throw Failure("cannot stop a vTPM", because: "its supervisor failed: see the system log")
        }
    }
}

/// `swtpm chardev`, with the same transport, and the options that come nearest to what ours does.
final class SWTPM: RunningTPM {
    private let process: RunningProgram
    let device: Device
    private var hasBeenReaped = false

    init(_ name: String, in place: Place) throws(Failure) {
        let directory = place.state(.swtpm, name)
        if mkdir(directory, 0o700) != 0, errno != EEXIST {
            throw Failure("cannot create \(directory)", call: "mkdir", code: errno)
        }
        let ends = try Device.pair()
        var launch = ProgramLaunch(
            "/usr/bin/swtpm",
            [
                "swtpm", "chardev", "--tpm2", "--fd", "3", "--tpmstate", "dir=\(directory)",
                "--key", "file=\(place.keyFile),mode=aes-256-cbc,format=hex",
                "--flags", "not-need-init,startup-clear",
            ]
        )
        launch.passed = [ends.far.number]
        process = try RunningProgram(launch)
        device = Device(owning: ends.near)
    }

    deinit {
        guard !hasBeenReaped else { return }
        process.kill()
        _ = try? process.wait()
    }

    var processes: [pid_t] { [process.process] }

    func stop() throws(Failure) {
        device.hangUp()
        hasBeenReaped = true
        guard try process.wait() == .exited(0) else { throw Failure("cannot stop swtpm", because: "it failed") }
    }
}
