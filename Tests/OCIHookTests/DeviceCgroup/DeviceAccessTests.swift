import CLinux
import Glibc
import Platform
import Testing
import VTPMProxy

@testable import OCIHook

private let tpm = DeviceNumber(major: 10, minor: 224)
private let resourceManager = DeviceNumber(major: 253, minor: 65541)
private let stranger = DeviceNumber(major: 253, minor: 65542)

/// Filters without the rule of runc's that allows making any node.
private let rules: [Rule] = [
    Rule(kind: .character, access: .all, major: 1, minor: 3),
    Rule(kind: .character, access: [.read, .write], major: 5),
]

// On a kernel, or with privileges, that do not allow this, these tests are reported as skipped and prove nothing.
@Suite(.enabled(if: Kernel.canFilter, "needs root, bpf(2) and a writable mount of cgroup version 2"))
struct DeviceAccessTests {
    func scratch(_ name: String) throws -> ScratchGroup {
        try ScratchGroup(in: #require(Kernel.unified), "vtpm-test-\(getpid())-\(name)")
    }

    @Test(arguments: RuntimeProgram.allCases)
    func `the kernel shows a filter as it was loaded and takes it back extended`(shape: RuntimeProgram) throws {
        let group = try scratch("load-\(shape)")
        let program = shape.program(Rule.usual)
        try group.attach(program)
        #expect(try group.programs() == [program])
        let patcher = DeviceProgramPatcher(kernel: KernelBPF(), devices: [tpm, resourceManager])
        #expect(try patcher.apply(to: group.directory.number).isEmpty)
        let extended = try DeviceProgram(dumped: program).allowing([tpm, resourceManager])
        #expect(try group.programs() == [extended])
        // Once is enough.
        #expect(try patcher.apply(to: group.directory.number).isEmpty)
        #expect(try group.programs() == [extended])
    }

    @Test(arguments: [0, BPF_F_ALLOW_OVERRIDE, BPF_F_ALLOW_MULTI])
    func `the flags of a group are kept`(flags: UInt32) throws {
        let group = try scratch("flags-\(flags)")
        try group.attach(RuntimeProgram.runc.program(rules), flags: flags)
        let patcher = DeviceProgramPatcher(kernel: KernelBPF(), devices: [resourceManager])
        #expect(try patcher.apply(to: group.directory.number).isEmpty)
        let attached = try KernelBPF().query(group.directory.number)
        #expect(attached.flags == flags)
        #expect(attached.programs.count == 1)
        #expect(try patcher.allowsAll(#require(try group.programs().first)))
    }

    @Test func `several filters of a group are each extended`() throws {
        let group = try scratch("several")
        for shape in RuntimeProgram.allCases { try group.attach(shape.program(rules)) }
        let patcher = DeviceProgramPatcher(kernel: KernelBPF(), devices: [tpm, resourceManager])
        #expect(try patcher.apply(to: group.directory.number).isEmpty)
        let programs = try group.programs()
        #expect(programs.count == 3)
        #expect(programs.allSatisfy(patcher.allowsAll))
    }

    @Test func `a group without a filter gets none`() throws {
        let group = try scratch("none")
        let patcher = DeviceProgramPatcher(kernel: KernelBPF(), devices: [tpm])
        #expect(try patcher.apply(to: group.directory.number).isEmpty)
        #expect(try group.programs().isEmpty)
    }

    @Test func `the verifier's reason is in the error`() throws {
        let failure = try #require(throws: Failure.self) { _ = try KernelBPF().load([.exit]) }
        #expect(failure.description.hasPrefix("cannot load a device filter: bpf BPF_PROG_LOAD: Permission denied: "))
        #expect(failure.description.contains("R0 !read_ok"))
    }

    @Test(arguments: RuntimeProgram.allCases)
    func `the container gains the devices and nothing else`(shape: RuntimeProgram) throws {
        let group = try scratch("allow-\(shape)")
        try group.attach(shape.program(rules))
        try expectGrant(group, process: Inmate(), cgroupsPath: nil)
    }

    @Test func `filters on the way up to the container's own group are extended`() throws {
        let box = try scratch("box")
        let leaf = try ScratchGroup(in: box.path, "leaf")
        try box.attach(RuntimeProgram.systemd.program(rules))
        try leaf.attach(RuntimeProgram.crun.program(rules))
        try expectGrant(leaf, process: Inmate(), cgroupsPath: "/vtpm-test-\(getpid())-box")
    }

    /// The first two of three nodes, all of which are denied before, are allowed then.
    private func expectAllowed(
        _ nodes: borrowing ScratchNodes,
        _ process: borrowing Inmate,
        cgroupsPath: String?
    ) throws {
        let cgroups = try Cgroups(of: process.child.process)
        #expect(try nodes.verdicts(in: cgroups) == [.denied, .denied, .denied])
        try DeviceAccess.allow(
            [tpm, resourceManager],
            for: process.child.process,
            cgroupsPath: cgroupsPath,
            nodes: Array(nodes.descriptors[..<2])
        )
        #expect(try nodes.verdicts(in: cgroups) == [.allowed, .allowed, .denied])
    }

    private func expectGrant(
        _ group: borrowing ScratchGroup,
        process: consuming Inmate,
        cgroupsPath: String?
    ) throws {
        try group.write("\(process.child.process)", to: "cgroup.procs")
        let nodes = try ScratchNodes([tpm, resourceManager, stranger])
        try expectAllowed(nodes, process, cgroupsPath: cgroupsPath)
        let made = "\(nodes.directory)/made"
        let script = """
            echo 0 > \(group.path)/cgroup.procs || exit 3
            mknod \(made) c 1 3 || exit 4
            rm \(made)
            mknod \(made) c 10 224 && exit 5
            exit 0
            """
        #expect(try ProgramLaunch("/bin/sh", ["sh", "-c", script]).start().wait() == .exited(0))
        unlink(made)
    }

    @Test func `a filter above the container's own group is left alone and named`() throws {
        let foreign = try scratch("foreign")
        let leaf = try ScratchGroup(in: foreign.path, "leaf")
        let program = RuntimeProgram.systemd.program(rules)
        try foreign.attach(program)
        let process = try Inmate()
        try leaf.write("\(process.child.process)", to: "cgroup.procs")
        let nodes = try ScratchNodes([tpm])
        let id = try #require(try KernelBPF().query(foreign.directory.number).programs.first)
        let failure = try #require(throws: Failure.self) {
            try DeviceAccess.allow([tpm], for: process.child.process, cgroupsPath: nil, nodes: nodes.descriptors)
        }
        #expect(failure.why == "denied by device filter \(id) of \(foreign.path)")
        #expect(failure.hint == "allow c \(tpm) rw there, or end what attached it")
        #expect(try foreign.programs() == [program])
    }

    @Test func `a unit without systemd is refused, unless the container may use the devices already`() throws {
        let group = try scratch("systemd")
        let process = try Inmate()
        try group.write("\(process.child.process)", to: "cgroup.procs")
        let nodes = try ScratchNodes([tpm])
        try DeviceAccess.allow(
            [tpm],
            for: process.child.process,
            cgroupsPath: "a.slice:runc:b",
            nodes: nodes.descriptors
        )
        try group.attach(RuntimeProgram.runc.program(rules))
        let failure = try #require(throws: Failure.self) {
            try DeviceAccess.allow(
                [tpm],
                for: process.child.process,
                cgroupsPath: "a.slice:runc:b",
                nodes: nodes.descriptors
            )
        }
        #expect(failure.what == "cannot use systemd's unit runc-b.scope")
        #expect(failure.why == "this host does not run systemd")
        #expect(failure.hint == ContainerUnit.driverHint)
        #expect(try group.programs() == [RuntimeProgram.runc.program(rules)])
    }

    @Test func `nodes of other devices are refused`() throws {
        let group = try scratch("others")
        let process = try group.inmate()
        let nodes = try ScratchNodes([tpm])
        let failure = try #require(throws: Failure.self) {
            try DeviceAccess.allow(
                [resourceManager],
                for: process.child.process,
                cgroupsPath: nil,
                nodes: nodes.descriptors
            )
        }
        #expect(failure.why == "the nodes to try it on are of other devices")
    }

    @Test func `a cgroup with another member is left alone`() throws {
        let group = try scratch("crowd")
        try group.attach(RuntimeProgram.runc.program(rules))
        let process = try group.inmate()
        let other = try group.inmate()
        let nodes = try ScratchNodes([tpm])
        let failure = try #require(throws: Failure.self) {
            try DeviceAccess.allow([tpm], for: process.child.process, cgroupsPath: nil, nodes: nodes.descriptors)
        }
        #expect(failure.why == "others than the container's init are in it")
        #expect(try group.programs() == [RuntimeProgram.runc.program(rules)])
        _ = other.child
    }

    @Test(.enabled(if: Kernel.canUseLegacy, "needs root and a writable mount of the devices controller"))
    func `both versions at once have to allow it`() throws {
        let name = "vtpm-test-\(getpid())-both"
        let group = try scratch("both")
        let box = try ScratchGroup(in: #require(Kernel.legacy), name)
        // The list cannot be emptied once there is a group below.
        try box.write("a", to: "devices.deny")
        let legacy = try ScratchGroup(in: box.path, "leaf")
        try group.attach(RuntimeProgram.runc.program(rules))
        let process = try Inmate()
        try legacy.write("\(process.child.process)", to: "cgroup.procs")
        // Here the configuration names the group of version 1, and the leaf of version 2 is nobody's.
        try expectRefusal(process, cgroupsPath: "/\(name)")
        try group.write("\(process.child.process)", to: "cgroup.procs")
        try expectGrantInBoth(process, cgroupsPath: "/\(name)", legacy)
    }

    private func expectRefusal(_ process: borrowing Inmate, cgroupsPath: String) throws {
        let nodes = try ScratchNodes([stranger])
        let other = "\(cgroupsPath)-other"
        let failure = try #require(throws: Failure.self) {
            try DeviceAccess.allow([stranger], for: process.child.process, cgroupsPath: other, nodes: nodes.descriptors)
        }
        #expect(failure.why == "the device cgroup denies it")
    }

    private func expectGrantInBoth(
        _ process: borrowing Inmate,
        cgroupsPath: String,
        _ legacy: borrowing ScratchGroup
    ) throws {
        let nodes = try ScratchNodes([tpm, resourceManager, stranger])
        try expectAllowed(nodes, process, cgroupsPath: cgroupsPath)
        let list = try Descriptor.open("\(legacy.path)/devices.list", .read).readAll(limit: 4096, "devices.list")
        #expect(String(decoding: list, as: UTF8.self) == "c 10:224 rw\nc 253:65541 rw\n")
    }
}
