import CLinux
import Glibc
import Platform
import Systemd
import Testing
import VTPMProxy

@testable import OCIHook

/// What of the running kernel the tests can use.
///
/// A test that needs more than there is is reported as skipped.
enum Kernel {
    private static let mounts = (try? Procfs().mountInfo()).map(CgroupMount.among) ?? []

    /// Where version 2 is mounted.
    static let unified = mounts.first { $0.type == "cgroup2" }?.mountPoint
    /// Where the `devices` controller of version 1 is mounted.
    static let legacy = mounts.first { $0.type == "cgroup" && $0.options.contains("devices") }?.mountPoint

    /// Whether programs can be loaded and cgroups of version 2 be made here: root, CAP_BPF or CAP_SYS_ADMIN, a mount.
    static let canFilter: Bool = {
        guard let unified, geteuid() == 0, access(unified, W_OK) == 0 else { return false }
        return (try? KernelBPF().load([.set(0, to: 1), .exit])) != nil
    }()

    /// Whether cgroups of version 1 with the `devices` controller can be made here.
    static let canUseLegacy = legacy.map { geteuid() == 0 && access($0, W_OK) == 0 } ?? false

    /// The program of the probe.
    static var probeProgram: String { program("ProbeProgram") }

    /// The path of a program that is built beside the tests.
    static func program(_ name: String) -> String {
        var buffer = [CChar](repeating: 0, count: 4096)
        let count = readlink("/proc/self/exe", &buffer, buffer.count)
        let path = String(decoding: buffer.prefix(max(count, 0)).map { UInt8(truncatingIfNeeded: $0) }, as: UTF8.self)
        return path.split(separator: "/").dropLast().reduce("") { "\($0)/\($1)" } + "/\(name)"
    }
}

/// A cgroup that is made for a test and removed after it; its processes have to be gone by then.
struct ScratchGroup: ~Copyable {
    let path: String
    let directory: Descriptor

    init(in parent: String, _ name: String) throws {
        let path = "\(parent)/\(name)"
        try systemCall("mkdir", "cannot make \(path)") { mkdir(path, 0o755) }
        self.directory = try Descriptor.open(path, .directory)
        self.path = path
    }

    deinit {
        // A process that was reaped a moment ago may still be on its way out.
        for _ in 0..<100 where rmdir(path) == -1 && errno == EBUSY { usleep(10_000) }
    }

    func write(_ text: String, to file: String) throws {
        try Descriptor.open("\(path)/\(file)", OpenOptions(O_WRONLY)).writeAll(Array(text.utf8), file)
    }

    func read(_ file: String) throws -> String {
        let path = "\(path)/\(file)"
        return String(decoding: try Descriptor.open(path, .read).readAll(limit: 4096, path), as: UTF8.self)
    }

    /// A process that has entered.
    func inmate() throws -> Inmate {
        let inmate = try Inmate()
        try write("\(inmate.child.process)", to: "cgroup.procs")
        return inmate
    }

    func attach(_ program: [BPFInstruction], flags: UInt32 = BPF_F_ALLOW_MULTI) throws {
        let kernel = KernelBPF()
        let loaded = try kernel.load(program)
        try kernel.attach(loaded.number, to: directory.number, flags: flags, replacing: nil)
    }

    func programs() throws -> [[BPFInstruction]] {
        let kernel = KernelBPF()
        var programs: [[BPFInstruction]] = []
        for id in try kernel.query(directory.number).programs {
            programs.append(try kernel.dump(kernel.open(id)))
        }
        return programs
    }
}

/// Nodes of devices in a directory of their own, all removed in the end.
struct ScratchNodes: ~Copyable {
    let directory: String
    let names: [String]
    let descriptors: [CInt]

    init(_ devices: [DeviceNumber]) throws {
        var template = Array("/tmp/vtpm-nodes-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw Failure("cannot make a directory", call: "mkdtemp", code: errno) }
        let directory = String(decoding: template.dropLast().map { UInt8(truncatingIfNeeded: $0) }, as: UTF8.self)
        var names: [String] = []
        var descriptors: [CInt] = []
        for device in devices {
            let name = "\(directory)/\(device)"
            try systemCall("mknod", "cannot make \(name)") { mknod(name, S_IFCHR | 0o600, device.raw) }
            descriptors.append(try Descriptor.open(name, OpenOptions(openPathOnly)).release())
            names.append(name)
        }
        self.directory = directory
        self.names = names
        self.descriptors = descriptors
    }

    deinit {
        for descriptor in descriptors { close(descriptor) }
        for name in names { unlink(name) }
        rmdir(directory)
    }

    /// What the cgroups of a process say of them.
    func verdicts(in cgroups: Cgroups) throws -> [DeviceAccessProbe.Verdict] {
        let probe = try DeviceAccessProbe(program: Kernel.probeProgram, in: cgroups)
        defer { probe.end() }
        return try probe.ask(descriptors)
    }
}

extension DeviceAccess {
    /// Lets a process use the devices of nodes.
    static func allow(
        _ devices: [DeviceNumber],
        for process: pid_t,
        cgroupsPath: String?,
        systemd: SystemdClient? = nil,
        nodes: [CInt]
    ) throws(Failure) {
        let access = try DeviceAccess(
            of: ProcessHandle(process),
            cgroupsPath: cgroupsPath,
            systemd: systemd,
            probe: Kernel.probeProgram
        )
        defer { access.end() }
        try access.allow(devices, nodes: nodes)
    }
}

/// Runs a program in cgroups until it is told to end, and reaps it.
struct Inmate: ~Copyable {
    let child: ChildProcess

    init(_ path: String = "/bin/sleep", _ arguments: [String] = ["sleep", "120"]) throws {
        child = try ProgramLaunch(path, arguments).start()
    }

    deinit {
        child.kill()
        waitpid(child.process, nil, 0)
    }
}
