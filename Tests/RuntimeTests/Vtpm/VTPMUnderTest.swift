import AuthorityClient
import CLinux
import Configuration
import Foundation
import Glibc
import Platform
import RuntimeControl
import RuntimePool
import RuntimeState
import Testing
import VTPMProxy

/// A real supervisor with a real worker; the test is the hook, a `sleep` is the container's init, and a socket stands in
/// for the vTPM proxy's descriptor.
final class VTPMUnderTest {
    let hook: Channel
    let supervisor: RunningProgram
    let initProcess: RunningProgram
    let temporary: TemporaryDirectory
    let buffer = Channel.makeBuffer()
    private let leaseName: String
    private(set) var device: CInt = -1
    var deviceNumber: CInt { device }
    private(set) var worker: pid_t = 0
    /// What the supervisor has said of the TPM once it had started up.
    private(set) var started = StartedTPM(library: LibraryVersion(number: 0))
    /// The record of the TPM's endorsement; empty for a persistent one whose launch is not measured.
    var endorsement: [UInt8] { started.endorsement }
    /// The event about the instance; empty if the launch is not measured.
    var instance: [UInt8] { started.instance }
    /// The libtpms that the supervisor has told of.
    var library: LibraryVersion { started.library }
    private var hasBeenReaped = false
    private let masterKeys: [UInt8]
    /// Stands between the certificate authority and the supervisor; nil if nothing does.
    var relay: ((VTPMUnderTest, StartedAuthority) throws -> Void)?
    /// The files of the operator's own authority; nil for the host's.
    var authorityFiles: Configuration.Authority.Files?
    /// Whether the hook cannot start one.
    var hasNoAuthority = false
    /// Called once the certificate authority is started, before the supervisor has it.
    var beforeAuthority = {}
    /// Whether the certificate authority is killed before the supervisor hears of it.
    var killsAuthority = false
    /// What the certificate authority is told.
    var orders: EndorsementOrders
    /// The certificate authority, once the supervisor has asked for it.
    private(set) var authority: StartedAuthority?

    /// Starts a supervisor and gives it its orders.
    ///
    /// With keys [2, 1], 2 is the current one and 1 the one before it. An ephemeral vTPM gets no directories but the run
    /// directory. With a trace, strace(1) writes into that file what supervisor and worker ask of the kernel, from the
    /// start to the end. A starter is a program with arguments that starts the supervisor in its own place. With a
    /// cgroup, the container is in that, has a second process, and no PID namespace of its own.
    init(
        in temporary: TemporaryDirectory,
        stateID: String = "web",
        keys: [UInt8] = [1],
        worker: String? = nil,
        isEphemeral: Bool = false,
        tpmKeys: RequestedKeys = .none,
        endorsement: EndorsementLevel = .none,
        pooled: PooledTPM? = nil,
        measuring event: [UInt8]? = nil,
        ordersAfter milliseconds: UInt32 = 0,
        trace: String? = nil,
        traced: String = SystemCallTrace.filesAndSockets,
        environment: [String] = ProgramLaunch.plainEnvironment,
        starter: [String] = [],
        cgroup: TestCgroup? = nil
    ) throws {
        self.temporary = temporary
        self.masterKeys = keys
        orders = EndorsementOrders(
            level: endorsement,
            keys: tpmKeys.ofNew,
            containerID: "container-\(stateID)",
            bundle: temporary.path,
            image: "docker.io/library/web:1",
            stateID: isEphemeral ? "" : stateID,
            time: UInt64(Glibc.time(nil)),
            chain: []
        )
        leaseName = try "lease-\(StateDirectoryName.encoded(stateID))"
        let runDirectory = try temporary.directory("run")
        initProcess =
            try cgroup?.start("sleep infinity & exec sleep infinity")
            ?? RunningProgram(ProgramLaunch("/bin/sleep", ["sleep", "infinity"]))
        let reference = try ProcessHandle(initProcess.process)
        var cgroupEvents: Descriptor?
        if let cgroup { cgroupEvents = try cgroup.openEvents() }
        let container = ContainerWatch(
            initProcess: try reference.descriptor.duplicate(),
            cgroupEvents: cgroupEvents.take()
        )
        let pair = try Channel.pair(near: "hook", far: "supervisor")
        let program = Self.program("vtpm-supervisor")
        let arguments = [worker ?? Self.program("vtpm-worker")]
        var launch = ProgramLaunch(program, ["vtpm-supervisor"] + arguments, environment: environment)
        if let trace { launch = SystemCallTrace.launch([program] + arguments, traced, into: trace) }
        if let first = starter.first { launch = ProgramLaunch(first, starter + [program] + arguments) }
        launch.passed = [pair.far.descriptor.number]
        launch.ownSession = true
        supervisor = try RunningProgram(launch)
        hook = pair.near
        usleep(milliseconds * 1000)
        let place = PersistentStorage(
            stateID: stateID,
            statesPath: "\(temporary.path)/states",
            indexPath: "\(temporary.path)/index",
            keyCount: UInt8(keys.count)
        )
        let request = StartRequest(
            storage: isEphemeral ? .ephemeral : .persistent(place),
            containerID: "container-\(stateID)",
            bundle: temporary.path,
            leaseName: leaseName,
            initProcess: try ProcessID(of: initProcess.process),
            keys: tpmKeys,
            endorsement: endorsement,
            pooled: pooled?.library,
            isMeasured: event != nil,
            cgroup: try cgroup?.identity()
        )
        let given = [runDirectory.number] + container.descriptors
        // The last thing that is sent, if all goes well.
        let deadline = Deadline(milliseconds: 30_000)
        defer { if let event { try? hook.sendChunks(HookRequest.launch, of: event, until: deadline) } }
        if isEphemeral {
            try hook.send(HookRequest.start(request), descriptors: given)
            return
        }
        let states = try temporary.directory("states")
        let index = try temporary.directory("index")
        try hook.send(HookRequest.start(request), descriptors: given + [states.number, index.number])
        for key in keys { try hook.send(HookRequest.key, secret(key)) }
        try pooled?.state.withBytes { (bytes) throws(Failure) in try hook.sendChunks(HookRequest.state, of: bytes) }
    }

    deinit {
        initProcess.kill()
        _ = try? initProcess.wait()
        if !hasBeenReaped {
            supervisor.kill()
            _ = try? supervisor.wait()
        }
        if device >= 0 { close(device) }
    }

    /// A program as it is installed, in the directory CONTAINER_VTPM_PROGRAMS if that is set; else, and if it is a fixture,
    /// as it was built beside the tests.
    static func program(_ name: String) -> String {
        if let directory = ProcessInfo.processInfo.environment["CONTAINER_VTPM_PROGRAMS"] {
            let path = "\(directory)/\(name)"
            if FileManager.default.isExecutableFile(atPath: path) { return path }
        }
        return built(name)
    }

    /// A program as it was built beside the tests, as full Swift.
    static func built(_ name: String) -> String {
        let tests = (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")) ?? ""
        return URL(fileURLWithPath: tests).deletingLastPathComponent().appendingPathComponent(name).path
    }

    /// The supervisor's next message but `started`: its kind, and its body.
    func hear() throws -> (kind: HookReply.Kind?, body: [UInt8]) {
        try #require(try wait(for: hook.descriptor.number, until: Deadline(milliseconds: 60_000)) != 0)
        let received = try hook.receive(into: buffer)
        switch consume received {
        case .none: return (nil, [])
        case .some(let message):
            if case .started(let process)? = HookReply(message) {
                worker = process
                return try hear()
            }
            if case .needsAuthority? = HookReply(message) {
                try startAuthority()
                return try hear()
            }
            return (HookReply.Kind(rawValue: message.kind), message.body)
        }
    }

    /// The certificate authority of a host that has the temporary directory.
    static func authority(
        below temporary: TemporaryDirectory,
        keys: [UInt8] = [1],
        files: Configuration.Authority.Files? = nil
    ) throws -> CertificateAuthority {
        let programs = URL(fileURLWithPath: program("vtpm-ca")).deletingLastPathComponent().path
        let masters = try keys.map { try MasterKey(secret($0)) }
        let ring = KeyRing(masters[0], previous: masters.count > 1 ? masters[1] : nil)
        return CertificateAuthority(HostPaths(below: temporary.path, programs: programs), keys: ring, files: files)
    }

    private func startAuthority() throws {
        if hasNoAuthority { return try hook.send(HookRequest.authority) }
        let started = try Self.authority(below: temporary, keys: masterKeys, files: authorityFiles).start(orders)
        authority = started
        if killsAuthority { started.process.kill() }
        beforeAuthority()
        if let relay { return try relay(self, started) }
        try hook.send(HookRequest.authority, descriptors: [started.channel.descriptor.number])
    }

    /// Ends the certificate authority, as the hook does of a container that is not created.
    func endAuthority() { authority?.process.kill() }

    /// Goes through a creation as the hook does.
    func create() throws {
        let ready = try hear()
        try #require(ready.kind == .ready, "\(String(decoding: ready.body, as: UTF8.self))")
        var body = ByteReader(ready.body)
        let decoded: StartedTPM = try #require(StartedTPM(&body))
        started = decoded
        try #require(worker > 0 && body.remaining == 0)
        try serve()
        try hook.send(HookRequest.commit)
        try #require(try hear().kind == .committed)
    }

    func serve() throws {
        var ends: [CInt] = [-1, -1]
        try #require(socketpair(AF_UNIX, CInt(SOCK_SEQPACKET.rawValue | SOCK_CLOEXEC.rawValue), 0, &ends) == 0)
        device = ends[1]
        try hook.send(HookRequest.device(number: 7), descriptors: [ends[0]])
        close(ends[0])
        try #require(try hear().kind == .serving)
    }

    /// One command, one answer.
    func transmit(_ command: [UInt8]) throws -> [UInt8] {
        try #require(send(device, command, command.count, 0) == command.count)
        try #require(try wait(for: device, until: Deadline(milliseconds: 60_000)) != 0)
        var answer = [UInt8](repeating: 0, count: 4096)
        let count = recv(device, &answer, answer.count, 0)
        return Array(answer.prefix(max(count, 0)))
    }

    /// Runs one of the real tpm2-tools against the TPM, by the shell.
    func tool(_ command: String) throws -> (status: WaitStatus, output: String) {
        let bridge = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
            .appendingPathComponent("../Fixtures/tpm-bridge").standardizedFileURL.path
        let output = "\(temporary.path)/output"
        var launch = ProgramLaunch(
            "/bin/sh",
            ["sh", "-c", "cd '\(temporary.path)' && (\(command)) >'\(output)' 2>&1"],
            environment: ProgramLaunch.plainEnvironment + ["TPM2TOOLS_TCTI=cmd:\(bridge)"]
        )
        launch.passed = [device]
        let status = try launch.start().wait()
        return (status, String(decoding: try temporary.read("output"), as: UTF8.self))
    }

    /// The same, for a command that must succeed; returns what it printed.
    @discardableResult
    func run(_ command: String) throws -> String {
        let (status, output) = try tool(command)
        try #require(status == .exited(0), "\(command): \(output)")
        return output
    }

    /// The fingerprint of the endorsement key, which is derived from the TPM's own seed.
    func endorsementKey() throws -> String {
        try run("tpm2_createek -Q -c ek.ctx -G ecc -u ek.pub && tpm2_flushcontext -Q -t && sha256sum <ek.pub")
    }

    /// Ends the container and waits for the supervisor's end.
    @discardableResult
    func stop() throws -> WaitStatus {
        initProcess.kill()
        return try reap()
    }

    func reap() throws -> WaitStatus {
        let reference = try ProcessHandle(supervisor.process)
        try #require(try wait(for: reference.descriptor.number, until: Deadline(milliseconds: 60_000)) != 0)
        hasBeenReaped = true
        return try supervisor.wait()
    }

    func status() throws -> VTPMStatus {
        let directory = try temporary.directory("run/\(leaseName)")
        let channel = try ControlSocket.connect(in: directory)
        try channel.send(ControlRequest.status)
        guard let message = try channel.receive(into: buffer), case .status(let status)? = ControlReply(message) else {
            throw Failure("no", because: "status")
        }
        return status
    }
}
