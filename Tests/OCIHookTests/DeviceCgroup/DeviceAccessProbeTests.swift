import CLinux
import Glibc
import Platform
import Testing
import VTPMProxy

@testable import OCIHook

private let tpm = DeviceNumber(major: 10, minor: 224)
private let resourceManager = DeviceNumber(major: 253, minor: 65541)
private let stranger = DeviceNumber(major: 253, minor: 65542)

// The process that asks as the container would.
extension DeviceAccessTests {
    @Test func `the probe leaves nothing behind`() throws {
        let group = try scratch("behind")
        let process = try group.inmate()
        let nodes = try ScratchNodes([tpm])
        try DeviceAccess.allow([tpm], for: process.child.process, cgroupsPath: nil, nodes: nodes.descriptors)
        #expect(try group.read("cgroup.procs") == "\(process.child.process)\n")
    }

    @Test func `a probe that was moved away says nothing`() throws {
        let group = try scratch("moved")
        let elsewhere = try scratch("elsewhere")
        let process = try group.inmate()
        let nodes = try ScratchNodes([tpm])
        let deviceAccess = try DeviceAccess(
            of: ProcessHandle(process.child.process),
            cgroupsPath: nil,
            systemd: nil,
            probe: Kernel.probeProgram
        )
        defer { deviceAccess.end() }
        // It comes by itself, in its own time.
        var members: [Substring] = []
        let deadline = Deadline(milliseconds: 10_000)
        while members.count < 2, !deadline.hasPassed {
            members = try group.read("cgroup.procs").split(separator: "\n")
        }
        let probe = try #require(members.first { $0 != "\(process.child.process)" })
        try elsewhere.write(String(probe), to: "cgroup.procs")
        let failure = try #require(throws: Failure.self) { try deviceAccess.allow([tpm], nodes: nodes.descriptors) }
        #expect(failure.why == "process \(probe) is not in it")
    }

    @Test func `a frozen cgroup is an error, and the probe is gone`() throws {
        let group = try scratch("frozen")
        let process = try group.inmate()
        let nodes = try ScratchNodes([tpm])
        try group.write("1", to: "cgroup.freeze")
        let failure = try #require(throws: Failure.self) {
            try DeviceAccess.allow([tpm], for: process.child.process, cgroupsPath: nil, nodes: nodes.descriptors)
        }
        #expect(failure.why.contains("is the container frozen?"))
        #expect(try group.read("cgroup.procs") == "\(process.child.process)\n")
    }

    @Test func `a program that is no probe is a failure and no answer`() throws {
        let group = try scratch("stranger")
        let process = try Inmate()
        try group.write("\(process.child.process)", to: "cgroup.procs")
        let nodes = try ScratchNodes([tpm])
        let cgroups = try Cgroups(of: process.child.process)
        for program in ["/bin/true", "/bin/false", "/nonexistent"] {
            #expect(throws: Failure.self) {
                let probe = try DeviceAccessProbe(program: program, in: cgroups)
                defer { probe.end() }
                _ = try probe.ask(nodes.descriptors)
            }
        }
        // It claims to have entered nothing, and so would speak for the hook's own cgroup.
        let silent = try silentProbe()
        defer { unlink(silent) }
        let failure = try #require(throws: Failure.self) {
            let probe = try DeviceAccessProbe(program: silent, in: cgroups)
            defer { probe.end() }
            _ = try probe.ask(nodes.descriptors)
        }
        #expect(failure.why == "the probe did not enter each control group")
    }

    /// As for a command of `vtpmctl run`, which may be in a cgroup that the hook may not write to, such as the root.
    @Test func `the hook's own cgroup is not entered`() throws {
        let process = try Inmate()
        let nodes = try ScratchNodes([tpm])
        let cgroups = try Cgroups(of: process.child.process)
        try cgroups.check(processes: [getpid()])
        // It answers "allowed" only if it was given nothing to enter.
        let program = try program("resident", "[ -e /proc/self/fd/4 ] || printf '\\3\\0\\0\\0\\0' >&3")
        defer { unlink(program) }
        let probe = try DeviceAccessProbe(program: program, in: cgroups)
        defer { probe.end() }
        #expect(try probe.ask(nodes.descriptors) == [.allowed])
    }

    /// A program that sends "entered", with no result, and then keeps quiet.
    private func silentProbe() throws -> String { try program("silent", "printf '\\1' >&3") }

    private func program(_ name: String, _ script: String) throws -> String {
        let path = "/tmp/vtpm-\(name)-probe-\(getpid())"
        let text = "#!/bin/sh\n\(script)\nsleep 1\n"
        try Descriptor.open(path, OpenOptions(O_WRONLY | O_CREAT | O_TRUNC, mode: 0o700)).writeAll(
            Array(text.utf8),
            path
        )
        return path
    }
}
