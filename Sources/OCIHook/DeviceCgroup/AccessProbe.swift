import CLinux
import Glibc
import Platform
import VTPMProxy

/// Learns whether the device cgroup lets a container use devices, without opening them.
///
/// A TPM can be open once only, so the container's first open must not be ours. access(2) asks the device cgroup as
/// open(2) does (fs/namei.c, `inode_permission`), but for the cgroup that the caller is in: the question has to come
/// from a process in the container's cgroups. That one is the hook's program, started again with ``argument``.
///
/// access(2) does not look at the mount option `nodev`; so the nodes' mount is asked for it here.
public struct AccessProbe: Sendable {
    /// The one argument that makes the hook's program call ``runChild()``.
    public static let argument = "probe"

    private let program: String
    private let nodes: [CInt]

    /// How long the child may take, in milliseconds: it needs a few, and in a frozen cgroup all there are.
    private let patience = 5000

    /// A probe of device nodes.
    ///
    /// - Parameters:
    ///   - program: The path of the hook's program.
    ///   - nodes: Descriptors of the nodes, opened with O_PATH, on a mount without `nodev`. They have to stay open for
    ///     as long as the probe is used.
    public init(program: String, nodes: [CInt]) {
        self.program = program
        self.nodes = nodes
    }

    /// What the probe says of one node.
    enum Verdict: Equatable, Sendable {
        /// The container can read and write it.
        case allowed
        /// The device cgroup forbids it.
        case denied
        /// Something else forbids it, or the question failed.
        case failed(CInt)

        /// The device cgroup says EPERM, and where that comes from elsewhere no grant helps either.
        init(code: CInt) {
            switch code {
            case 0: self = .allowed
            case EPERM: self = .denied
            default: self = .failed(code)
            }
        }
    }

    /// The numbers of the devices.
    func devices() throws(Failure) -> [DeviceNumber] {
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

    /// Asks from within the container's cgroups, and returns one verdict for each node.
    func run(in groups: borrowing ControlGroups) throws(Failure) -> [Verdict] {
        let what = "cannot ask the device cgroup as the container would"
        let legacy = try Self.entrance(of: groups.legacyDevices)
        let unified = try Self.entrance(of: groups.unified)
        let entrances = [Self.number(of: legacy), Self.number(of: unified)].compactMap(\.self)

        var launch = ProgramLaunch(program, [program, Self.argument])
        var ends: [CInt] = [-1, -1]
        try systemCall("pipe2", what) { pipe2(&ends, O_CLOEXEC) }
        let report = Descriptor(owning: ends[0])
        let child: ChildProcess
        do {
            let end = Descriptor(owning: ends[1])
            launch.passed = [end.number] + entrances + nodes
            child = try launch.start()
        }
        let codes: [CInt]
        do {
            codes = try read(report, count: entrances.count + nodes.count, what)
        } catch {
            child.kill()
            _ = try? child.wait()
            throw error
        }
        guard try child.wait(until: Deadline(milliseconds: patience)) == .exited(0) else {
            throw Failure(what, because: "the probe failed")
        }
        if let code = codes.prefix(entrances.count).first(where: { $0 != 0 }) {
            throw Failure("cannot enter the control groups of the container", call: "write cgroup.procs", code: code)
        }
        return codes.dropFirst(entrances.count).map(Verdict.init(code:))
    }

    /// The file that takes processes into the cgroup of the container.
    private static func entrance(of hierarchy: borrowing ControlGroupHierarchy?) throws(Failure) -> Descriptor? {
        switch hierarchy {
        case .none: nil
        case .some(let hierarchy): try hierarchy.open("cgroup.procs", of: hierarchy.leaf, .beneath(O_WRONLY))
        }
    }

    private static func number(of descriptor: borrowing Descriptor?) -> CInt? {
        switch descriptor {
        case .none: nil
        case .some(let descriptor): descriptor.number
        }
    }

    private func read(_ report: borrowing Descriptor, count: Int, _ what: String) throws(Failure) -> [CInt] {
        let deadline = Deadline(milliseconds: patience)
        guard try wait(for: report.number, until: deadline) != 0 else {
            throw Failure(what, because: "no answer within \(patience / 1000) seconds; is the container frozen?")
        }
        // Shorter than PIPE_BUF, so it comes in one piece. Not up to the end: a child that is frozen does not end.
        var bytes = [UInt8](repeating: 0, count: count * MemoryLayout<CInt>.size)
        let number = report.number
        let length = try systemCall("read", what) { Glibc.read(number, &bytes, bytes.count) }
        var reader = ByteReader(Array(bytes[..<length]))
        var codes: [CInt] = []
        while let code = reader.read(CInt.self) { codes.append(code) }
        guard codes.count == count, reader.remaining == 0 else {
            throw Failure(what, because: "the probe answered \(codes.count) of \(count) questions")
        }
        return codes
    }
}

extension AccessProbe {
    /// What the child does: the whole program, when it is started with ``argument`` alone.
    ///
    /// It must run before anything closes the descriptors that were passed. Each of them says by its type what is to
    /// be done: the pipe, 3, takes the report; a regular file takes the process into a cgroup; a device is asked for.
    /// Returns the exit code.
    public static func runChild() -> CInt {
        let report: CInt = 3
        var results = ByteWriter()
        var number = report + 1
        var status = stat()
        while fstat(number, &status) == 0 {
            results.write(result(of: number, type: status.st_mode & S_IFMT))
            number += 1
        }
        do {
            try Descriptor(owning: report).writeAll(results.bytes, "the report of the probe")
            return 0
        } catch {
            return 1
        }
    }

    /// 0, or the `errno` that the descriptor's question was answered with.
    private static func result(of number: CInt, type: mode_t) -> CInt {
        do {
            switch type {
            case S_IFREG:
                // 0 stands for the process that writes. cgroups(7)
                try systemCall("write", "") { write(number, "0", 1) }
            case S_IFCHR:
                try systemCall("faccessat2", "") {
                    clinux_faccessat2(number, "", R_OK | W_OK, clinux_at_empty_path | AT_EACCESS)
                }
            default:
                return EINVAL
            }
            return 0
        } catch {
            return error.code ?? EINVAL
        }
    }
}
