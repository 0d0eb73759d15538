import Crypto
import Glibc
import Platform
import RuntimeState

/// What is compared.
enum Side: String {
    /// A supervisor and its worker.
    case ours
    /// `swtpm chardev`.
    case swtpm
    /// A supervisor and its worker, as they were at that commit.
    case before = "2ea67b3"
}

/// Where a run's files and programs are.
struct Place {
    /// The directory with our programs.
    var programs: String
    /// The directory with our programs as they were before; empty if they are not measured here.
    var programsBefore = ""
    /// A directory of the run's own.
    var directory: String

    /// A key of 256 bits, for both sides.
    static let key = [UInt8](repeating: 0x5a, count: 32)

    /// A copy of ``key`` to be handed over.
    static func secretKey() throws(Failure) -> SecretBytes {
        let secret = try SecretBytes(capacity: key.count)
        _ = secret.append(copying: key)
        return secret
    }

    /// The file with ``key`` in hexadecimal digits, for swtpm.
    var keyFile: String { "\(directory)/key" }

    /// The directory of one state of a side.
    func state(_ side: Side, _ name: String) -> String { "\(directory)/\(side.rawValue)/\(name)" }

    /// The same for ``Side/before``, whose files are not ours any more.
    var before: Place { Place(programs: programsBefore, directory: "\(directory)/before") }

    /// Makes what all sides need.
    func prepare() throws(Failure) {
        for folder in ["run", "states", "index", "swtpm", "before", "before/run", "before/states", "before/index"] {
            _ = try openOwnDirectory("\(directory)/\(folder)")
        }
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
            case .before: try OurTPM(before: name, in: place.before, for: initProcess)
            }
        try tpm.device.run(Commands.getRandom)
        return tpm
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
        // As what outlives its starter is run, and as ours is: the kernel takes half a microsecond more to change between
        // two sessions than within one. sched(7), "The autogroup feature"
        launch.ownSession = true
        // As it is started without us.
        launch.environment = ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"]
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
