import CLinux
import Glibc
import Platform
import RuntimeControl
import VTPMProxy

/// A process in a container's cgroups that finds out whether they permit access to devices, without opening them.
///
/// A TPM can be open only once, so the container's first open must not collide with one of ours. access(2) checks the
/// device cgroup as open(2) does (fs/namei.c, `inode_permission`), but it checks the caller's. So the caller has to be
/// in the container's cgroups. It is the hook's program, started again with ``argument``.
///
/// Moving a process takes the kernel an RCU grace period of about 10 ms (kernel/cgroup/cgroup.c, `cgroup_attach_lock`).
/// So the process is moved long before it is asked.
///
/// access(2) ignores the mount option `nodev`, so ``devices(of:)`` checks the mount of the nodes.
///
/// ``end()`` must be called when the probe is no longer needed.
public final class DeviceAccessProbe {
    /// The only argument with which the hook's program calls ``runChild()``.
    public static let argument = "probe"

    /// The child's process ID.
    let process: pid_t
    /// The child; nil once it has been reaped.
    private var child: ChildProcess?
    private let buffer = Channel.makeBuffer()
    private var channel: Channel?
    /// The number of cgroups that the child has not yet reported to have entered.
    private var entrances: Int

    /// The child's timeout in milliseconds.
    ///
    /// It needs a few, but in a frozen cgroup it never answers.
    private static let timeout = 5000
    private static let what = "cannot ask the device cgroup as the container would"

    /// The child's result for one node.
    enum Verdict: Equatable, Sendable {
        /// The container can read and write it.
        case allowed
        /// The device cgroup forbids it.
        case denied
        /// Something else forbids it, or the check failed; this is the `errno`.
        case failed(CInt)

        /// Makes a verdict of 0 or an `errno`.
        ///
        /// EPERM counts as the device cgroup's. If it has another source, no permission helps either.
        init(code: CInt) {
            switch code {
            case 0: self = .allowed
            case EPERM: self = .denied
            default: self = .failed(code)
            }
        }
    }

    /// Starts the child, which enters the container's cgroups in the background.
    ///
    /// `program` is the path of the hook's program.
    init(program: String, in cgroups: Cgroups) throws(Failure) {
        let legacy = try cgroups.legacyDevices.flatMap(Self.entrance)
        let unified = try cgroups.unified.flatMap(Self.entrance)
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

    /// Closes the channel, on which the child ends and so leaves the cgroups.
    func leave() {
        channel = nil
    }

    /// Closes the channel and waits for the child; kills it at the timeout.
    func end() {
        leave()
        switch child.take() {
        case .none: break
        case .some(let child): _ = try? child.wait(until: Deadline(milliseconds: Self.timeout))
        }
    }

    /// Has the child check nodes from within the container's cgroups, and returns one verdict for each.
    ///
    /// The nodes are descriptors that were opened with O_PATH, on a mount without `nodev`. If the child could not enter
    /// the cgroups or does not answer in time, it is killed.
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
            // Otherwise ``end()`` would wait for the timeout a second time.
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

    /// Returns the device numbers of nodes; throws if one is no character device or is on a mount with `nodev`.
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

    /// Opens `cgroup.procs` of the container's cgroup, which moves the processes that are written to it; nil if the child is
    /// in that cgroup already, as the hook is in the caller's of `vtpmctl run`.
    private static func entrance(of hierarchy: CgroupHierarchy) throws(Failure) -> Descriptor? {
        if hierarchy.hook == hierarchy.leaf { return nil }
        return try hierarchy.open("cgroup.procs", of: hierarchy.leaf, .beneath(O_WRONLY))
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

/// The messages between hook and probe; each result is 0 or an `errno`, in the order of the descriptors.
enum ProbeMessage: ChannelMessage {
    /// The probe's results of entering the cgroups.
    case entered([CInt])
    /// The hook's request to check nodes, which are the message's descriptors.
    case ask
    /// The probe's results for the nodes.
    case verdicts([CInt])

    /// The messages' numbers on the channel.
    enum Kind: UInt8, Sendable {
        case entered = 1
        case ask = 2
        case verdicts = 3
    }

    /// A message has at most ``Channel/descriptorLimit`` descriptors, and there are only two hierarchies of cgroups.
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
    /// Runs the child, which is the whole program if ``argument`` is its only argument; returns the exit code.
    ///
    /// It must run before anything closes the descriptors that were passed. These are the channel, 3, and from 4 on the
    /// `cgroup.procs` files of the cgroups to enter.
    public static func runChild() -> CInt {
        let channel = Channel(owning: Descriptor(owning: 3), peer: "hook")
        let buffer = Channel.makeBuffer()
        do throws(Failure) {
            // The other processes in these cgroups are the container's; they must not trace this one.
            try Hardening.protectMemory()
            var results: [CInt] = []
            var entrance: CInt = 4
            while fcntl(entrance, F_GETFD) != -1 {
                // 0 stands for the writing process. cgroups(7)
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

    /// Returns 0, or the `errno` if the call fails.
    private static func code(of call: () -> Int) -> CInt {
        do throws(Failure) {
            try systemCall("", "", call)
            return 0
        } catch {
            return error.code ?? EINVAL
        }
    }
}
