import CLinux
import Glibc
import Platform
import RuntimeControl
import VTPMProxy

/// A process in a container's cgroups, which finds out whether they let it use devices, without opening them.
///
/// A TPM can be open once only, so the container's first open must not be ours. access(2) asks the device cgroup as
/// open(2) does (fs/namei.c, `inode_permission`), but for the cgroup that the caller is in: the question has to come
/// from a process in the container's cgroups. That one is the hook's program, started again with ``argument``.
///
/// To move a process takes the kernel a grace period of RCU, ten milliseconds or so (kernel/cgroup/cgroup.c,
/// `cgroup_attach_lock`). So it is moved long before it is asked.
///
/// access(2) ignores the mount option `nodev`, so the nodes' mount is examined here.
///
/// ``end()`` has to be called when it is no longer needed.
public final class DeviceAccessProbe {
    /// The one argument that makes the hook's program call ``runChild()``.
    public static let argument = "probe"

    /// The child's process ID.
    let process: pid_t
    /// The child, until it is waited for.
    private var child: ChildProcess?
    private let buffer = Channel.makeBuffer()
    private var channel: Channel?
    /// How many cgroups it has to enter before it is asked; 0 once it has.
    private var entrances: Int

    /// How long the child may take, in milliseconds: it needs a few, and in a frozen cgroup all there are.
    private static let timeout = 5000
    private static let what = "cannot ask the device cgroup as the container would"

    /// The child's answer about one node.
    enum Verdict: Equatable, Sendable {
        /// The container can read and write it.
        case allowed
        /// The device cgroup forbids it.
        case denied
        /// Something else forbids it, or the question failed.
        case failed(CInt)

        /// Takes EPERM for the device cgroup's answer: if it comes from elsewhere, no grant helps either.
        init(code: CInt) {
            switch code {
            case 0: self = .allowed
            case EPERM: self = .denied
            default: self = .failed(code)
            }
        }
    }

    /// Starts the child, which enters the container's cgroups while the caller goes on.
    ///
    /// The program is the hook's.
    init(program: String, in cgroups: Cgroups) throws(Failure) {
        let legacy = try cgroups.legacyDevices.map(Self.entrance)
        let unified = try cgroups.unified.map(Self.entrance)
        let entrances = [Self.number(of: legacy), Self.number(of: unified)].compactMap(\.self)
        let pair = try Channel.pair(near: "hook", far: "probe")
        var launch = ProgramLaunch(program, [program, Self.argument])
        launch.passed = [pair.far.descriptor.number] + entrances
        let started = try launch.start()
        process = started.process
        child = consume started
        channel = pair.near
        self.entrances = entrances.count
    }

    /// Lets the child end, so that it leaves the cgroups.
    func leave() {
        channel = nil
    }

    /// Ends the child and waits until it has; one that does not end in time is left.
    func end() {
        leave()
        switch child.take() {
        case .none: break
        case .some(let child): _ = try? child.wait(until: Deadline(milliseconds: Self.timeout))
        }
    }

    /// Asks from within the container's cgroups, and returns one verdict for each node.
    ///
    /// The nodes are descriptors that were opened with O_PATH, on a mount without `nodev`.
    func ask(_ nodes: [CInt]) throws(Failure) -> [Verdict] {
        do throws(Failure) {
            guard let channel else { throw Failure(Self.what, because: "the probe has been ended") }
            let deadline = Deadline(milliseconds: Self.timeout)
            try awaitEntrance(channel, until: deadline)
            try channel.send(ProbeMessage.ask, descriptors: nodes)
            guard case .verdicts(let codes) = try receive(on: channel, until: deadline), codes.count == nodes.count
            else { throw Failure(Self.what, because: "the probe did not answer each question") }
            return codes.map(Verdict.init(code:))
        } catch {
            // So that ``end()`` does not wait for an answer once more.
            switch child {
            case .none: break
            case .some(let child): child.kill()
            }
            throw error
        }
    }

    private func awaitEntrance(_ channel: Channel, until deadline: Deadline) throws(Failure) {
        guard entrances > 0 else { return }
        guard case .entered(let codes) = try receive(on: channel, until: deadline), codes.count == entrances else {
            throw Failure(Self.what, because: "the probe did not enter each control group")
        }
        if let code = codes.first(where: { $0 != 0 }) {
            throw Failure("cannot enter the control groups of the container", call: "write cgroup.procs", code: code)
        }
        entrances = 0
    }

    /// Returns the device numbers of nodes; throws if one is no character device, or is on a mount with `nodev`.
    static func devices(of nodes: [CInt]) throws(Failure) -> [DeviceNumber] {
        var devices: [DeviceNumber] = []
        for node in nodes {
            let what = "cannot examine a device node"
            var status = stat()
            try systemCall("fstat", what) { fstat(node, &status) }
            guard status.st_mode & S_IFMT == S_IFCHR else { throw Failure(what, because: "it is none") }
            let device = DeviceNumber(status.st_rdev)
            var mount = statfs()
            try systemCall("fstatfs", what) { fstatfs(node, &mount) }
            guard Int(mount.f_flags) & clinux_st_nodev == 0 else {
                throw Failure("cannot use the node of device \(device)", because: "its mount has the option nodev")
            }
            devices.append(device)
        }
        return devices
    }

    /// Opens the file that takes processes into the cgroup of the container.
    private static func entrance(of hierarchy: CgroupHierarchy) throws(Failure) -> Descriptor {
        try hierarchy.open("cgroup.procs", of: hierarchy.leaf, .beneath(O_WRONLY))
    }

    private static func number(of descriptor: borrowing Descriptor?) -> CInt? {
        switch descriptor {
        case .none: nil
        case .some(let descriptor): descriptor.number
        }
    }

    private func receive(on channel: Channel, until deadline: Deadline) throws(Failure) -> ProbeMessage {
        guard try wait(for: channel.descriptor.number, until: deadline) != 0 else {
            let seconds = Self.timeout / 1000
            throw Failure(Self.what, because: "no answer within \(seconds) seconds; is the container frozen?")
        }
        guard let received = try channel.receive(into: buffer), let message = ProbeMessage(received) else {
            throw Failure(Self.what, because: "the probe failed")
        }
        return message
    }
}

/// What hook and probe say to each other; results are 0 or an `errno`, in the order of the descriptors.
enum ProbeMessage: ChannelMessage {
    /// The probe has tried to enter the cgroups.
    case entered([CInt])
    /// Whether it may use nodes, which are the descriptors.
    case ask
    /// Whether it may.
    case verdicts([CInt])

    /// The numbers of the messages.
    enum Kind: UInt8, Sendable {
        case entered = 1
        case ask = 2
        case verdicts = 3
    }

    /// A message brings at most ``Channel/descriptorLimit`` descriptors, and a host has two hierarchies of cgroups.
    static let maximumSize = Channel.descriptorLimit * MemoryLayout<CInt>.size

    var kind: Kind {
        switch self {
        case .entered: .entered
        case .ask: .ask
        case .verdicts: .verdicts
        }
    }

    func encode(into writer: inout ByteWriter) {
        switch self {
        case .entered(let codes), .verdicts(let codes):
            for code in codes { writer.write(code) }
        case .ask: break
        }
    }

    init?(_ kind: Kind, _ contents: borrowing Message) {
        var reader = ByteReader(contents.body)
        var codes: [CInt] = []
        while let code = reader.read(CInt.self) { codes.append(code) }
        guard reader.remaining == 0 else { return nil }
        switch kind {
        case .entered: self = .entered(codes)
        case .ask: self = .ask
        case .verdicts: self = .verdicts(codes)
        }
    }
}

extension DeviceAccessProbe {
    /// Runs the child: the whole program, if it is started with ``argument`` alone.
    ///
    /// It must run before anything closes the descriptors that were passed: the channel, 3, and files that take the
    /// process into a cgroup. Returns the exit code.
    public static func runChild() -> CInt {
        let channel = Channel(owning: Descriptor(owning: 3), peer: "hook")
        let buffer = Channel.makeBuffer()
        do throws(Failure) {
            // The other members of the cgroups are the container's.
            try Hardening.protectMemory()
            var results: [CInt] = []
            var entrance: CInt = 4
            while fcntl(entrance, F_GETFD) != -1 {
                // 0 stands for the process that writes. cgroups(7)
                let number = entrance
                results.append(code { write(number, "0", 1) })
                entrance += 1
            }
            for number in 4..<entrance { close(number) }
            if entrance > 4 { try channel.send(ProbeMessage.entered(results)) }
            while var question = try channel.receive(into: buffer) {
                results = []
                while let node = question.descriptors.take() {
                    let number = node.number
                    results.append(
                        code { Int(clinux_faccessat2(number, "", R_OK | W_OK, clinux_at_empty_path | AT_EACCESS)) }
                    )
                }
                try channel.send(ProbeMessage.verdicts(results))
            }
            return 0
        } catch {
            return 1
        }
    }

    /// 0, or the `errno` of a call.
    private static func code(of call: () -> Int) -> CInt {
        do throws(Failure) {
            try systemCall("", "", call)
            return 0
        } catch {
            return error.code ?? EINVAL
        }
    }
}
