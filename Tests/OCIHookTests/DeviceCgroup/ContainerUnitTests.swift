import Glibc
import Platform
import RuntimeControl
import Testing

@testable import OCIHook
@testable import Systemd

private let tpm = DeviceNumber(major: 10, minor: 224)
private let name = "runc-b.scope"

/// Which units are taken for a container's own.
@Suite struct ContainerUnitTests {
    private func leaf(_ text: String) throws -> CgroupPath { try #require(CgroupPath(text.utf8)) }

    private func unit(_ change: (inout UnitProperties) -> Void = { _ in }) -> UnitProperties {
        var unit = UnitProperties(name: name, controlGroup: "/a.slice/runc-b.scope")
        change(&unit)
        return unit
    }

    @Test(arguments: ["/a.slice/runc-b.scope", "/a.slice/runc-b.scope/container"])
    func `a scope that the container's process is in is its own`(leaf: String) throws {
        let found = try ContainerUnit(name, unit(), leaves: [.root, self.leaf(leaf)])
        #expect(found.controlGroup.description == "/a.slice/runc-b.scope")
    }

    @Test(arguments: ["/a.slice", "/a.slice/runc-bb.scope", "/", "/b.slice/runc-b.scope"])
    func `a scope that the container's process is not in is refused`(leaf: String) throws {
        let failure = try #require(throws: Failure.self) {
            _ = try ContainerUnit(name, unit(), leaves: [.root, self.leaf(leaf)])
        }
        #expect(failure.what == "cannot use systemd's unit runc-b.scope")
        #expect(failure.why == "the container is in / and \(leaf), and the unit is /a.slice/runc-b.scope")
    }

    @Test(arguments: ["", "/", "/a/../b", "//"])
    func `a unit without a cgroup of its own is refused`(controlGroup: String) throws {
        #expect(throws: Failure.self) {
            try ContainerUnit(name, unit { $0.controlGroup = controlGroup }, leaves: [.root])
        }
    }

    @Test func `a slice, a unit that is not active, and one that does not exist are refused`() throws {
        let leaf = try leaf("/a.slice/runc-b.scope")
        let cases: [(String, UnitProperties?, String)] = [
            ("b.slice", unit { $0.name = "b.slice" }, "it is no scope, so that others can be in it"),
            (name, nil, "systemd has no such unit"),
            (name, unit { $0.activeState = "deactivating" }, "it is loaded and deactivating"),
            (name, unit { $0.loadState = "not-found" }, "it is not-found and active"),
        ]
        for (name, properties, why) in cases {
            let failure = try #require(throws: Failure.self) { _ = try ContainerUnit(name, properties, leaves: [leaf]) }
            #expect(failure.why == why)
        }
    }
}

/// What is done to a container's unit; the test answers in place of systemd.
@Suite(.enabled(if: Kernel.canFilter, "needs root, bpf(2) and a writable mount of cgroup version 2"))
struct UnitGrantTests {
    private let rules = [Rule(kind: .character, access: .all, major: 1, minor: 3)]

    /// A systemd that has these answers ready, and the channel that shows whether it was asked for more.
    private func systemd(_ answers: [SystemdResponse]) throws -> (SystemdClient, Channel) {
        let pair = try Channel.pair(near: "client", far: "vtpm-systemd")
        for answer in answers { try pair.far.send(answer) }
        return (SystemdClient(to: try ProgramLaunch("/bin/true", ["true"]).start(), over: pair.near), pair.far)
    }

    /// Returns the requests that came.
    private func requests(on channel: Channel) throws -> [SystemdRequest] {
        let buffer = Channel.makeBuffer()
        var requests: [SystemdRequest] = []
        while try wait(for: channel.descriptor.number, until: Deadline(milliseconds: 0)) & CInt(POLLIN) != 0 {
            guard let message = try channel.receive(into: buffer) else { break }
            if let request = SystemdRequest(message) { requests.append(request) }
        }
        return requests
    }

    private func group(_ test: String) throws -> ScratchGroup {
        try ScratchGroup(in: #require(Kernel.unified), "vtpm-test-\(getpid())-unit-\(test)")
    }

    private func properties(of test: String, _ rules: [DeviceRule], policy: String = "strict") -> SystemdResponse {
        .unit(
            UnitProperties(
                name: name,
                controlGroup: "/vtpm-test-\(getpid())-unit-\(test)",
                devicePolicy: policy,
                deviceAllow: rules
            )
        )
    }

    private func allow(_ process: pid_t, _ systemd: SystemdClient, _ nodes: borrowing ScratchNodes) throws {
        try DeviceAccess.allow(
            [tpm],
            for: process,
            cgroupsPath: "a.slice:runc:b",
            systemd: systemd,
            nodes: nodes.descriptors
        )
    }

    @Test func `systemd is asked first, and every other program is replaced`() throws {
        let scope = try group("plain")
        let leaf = try ScratchGroup(in: scope.path, "container")
        try scope.attach(RuntimeProgram.runc.program(rules))
        try leaf.attach(RuntimeProgram.crun.program(rules))
        let process = try leaf.inmate()
        let nodes = try ScratchNodes([tpm])
        let null = DeviceRule(device: "/dev/char/1:3", access: "rwm")
        let (systemd, channel) = try systemd([
            properties(of: "plain", [null]), properties(of: "plain", [null, DeviceRule(tpm)]),
        ])
        defer { systemd.end() }
        try allow(process.child.process, systemd, nodes)
        #expect(try requests(on: channel) == [.unit(name), .allow([tpm], unit: name)])
        #expect(try nodes.verdicts(in: Cgroups(of: process.child.process)) == [.allowed])
    }

    @Test func `a unit that denies no device gets no rule`() throws {
        let scope = try group("open")
        try scope.attach(RuntimeProgram.crun.program(rules))
        let process = try scope.inmate()
        let nodes = try ScratchNodes([tpm])
        let (systemd, channel) = try systemd([properties(of: "open", [], policy: "auto")])
        defer { systemd.end() }
        try allow(process.child.process, systemd, nodes)
        #expect(try requests(on: channel) == [.unit(name)])
        #expect(try nodes.verdicts(in: Cgroups(of: process.child.process)) == [.allowed])
    }

    @Test func `a unit with others in it is left alone`() throws {
        let scope = try group("crowd")
        let leaf = try ScratchGroup(in: scope.path, "container")
        let other = try ScratchGroup(in: scope.path, "other")
        try leaf.attach(RuntimeProgram.runc.program(rules))
        let process = try leaf.inmate()
        let stranger = try other.inmate()
        let nodes = try ScratchNodes([tpm])
        let (systemd, channel) = try systemd([properties(of: "crowd", [])])
        defer { systemd.end() }
        let failure = try #require(throws: Failure.self) { try allow(process.child.process, systemd, nodes) }
        #expect(failure.description == "cannot use \(other.path): others than the container's init are in it")
        #expect(try requests(on: channel) == [.unit(name)])
        #expect(try leaf.programs() == [RuntimeProgram.runc.program(rules)])
        _ = stranger.child
    }

    @Test func `a container that systemd does not allow the device is refused`() throws {
        let scope = try group("refused")
        try scope.attach(RuntimeProgram.systemd.program(rules))
        let process = try scope.inmate()
        let nodes = try ScratchNodes([tpm])
        let (systemd, channel) = try systemd([
            properties(of: "refused", []), .failure(Failure("cannot call SetUnitProperties", because: "Access denied")),
        ])
        defer { systemd.end() }
        let failure = try #require(throws: Failure.self) { try allow(process.child.process, systemd, nodes) }
        #expect(failure.why == "Access denied")
        #expect(try requests(on: channel) == [.unit(name), .allow([tpm], unit: name)])
        #expect(try scope.programs() == [RuntimeProgram.systemd.program(rules)])
    }
}
