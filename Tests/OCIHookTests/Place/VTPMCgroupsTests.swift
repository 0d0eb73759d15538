import Glibc
import Platform
import Testing

@testable import OCIHook

/// The cgroups of vTPMs on this host, where it has version 2; a shell stands in for a supervisor.
@Suite(.serialized, .enabled(if: Kernel.unified != nil && geteuid() == 0, "needs root and cgroup version 2"))
struct VTPMCgroupsTests {
    private let cgroups: VTPMCgroups
    private let name = "test\(getpid())"

    init() throws {
        cgroups = try #require(try VTPMCgroups.make(Procfs()))
    }

    private var exists: Bool { access(cgroups.path(of: name), F_OK) == 0 }

    private func start(_ script: String) throws -> ChildProcess {
        var launch = ProgramLaunch("/bin/sh", ["sh", "-c", script])
        launch.ownSession = true
        return try cgroups.start(launch, in: name)
    }

    @Test func `a supervisor begins in its cgroup, which lasts as long as a process is in it`() throws {
        let child = try start("exec sleep 60")
        let own = try #require(try Procfs().cgroups(of: child.process).first { $0.isUnified })
        #expect(cgroups.path(of: name).hasSuffix(String(decoding: own.path, as: UTF8.self)))
        #expect(getsid(child.process) == child.process)
        cgroups.remove(name)
        cgroups.removeAll(but: [])
        #expect(exists)
        _ = try child.end()
        // Its lease may be another's by now.
        cgroups.removeAll(but: [name])
        #expect(exists)
        cgroups.remove(name)
        #expect(!exists)
    }

    /// The shell does what a supervisor does at its end.
    @Test func `a supervisor can leave its cgroup and remove it`() throws {
        let child = try start("test $0 = \(name) && echo 0 >&4 && cd /proc/self/fd/3 && rmdir $0 && exec 3>&- 4>&-")
        #expect(try child.wait() == .exited(0))
        #expect(!exists)
    }

    @Test func `the next vTPM of a container can be in the same cgroup`() throws {
        let first = try start("exec sleep 60")
        let second = try start("exec sleep 60")
        _ = try first.end()
        cgroups.removeAll(but: [])
        #expect(exists)
        _ = try second.end()
        cgroups.removeAll(but: [])
        #expect(!exists)
    }

    @Test func `a program that cannot be executed leaves nothing`() throws {
        let launch = ProgramLaunch("/nowhere", ["x"])
        let failure = #expect(throws: Failure.self) { _ = try cgroups.start(launch, in: name) }
        #expect(failure?.description == "cannot start /nowhere: execve: No such file or directory")
        #expect(!exists)
    }

    @Test func `a cgroup that was removed takes no process`() throws {
        let path = cgroups.path(of: name)
        try #require(mkdir(path, 0o700) == 0)
        let directory = try Descriptor.open(path, .directory)
        try #require(rmdir(path) == 0)
        var launch = ProgramLaunch("/bin/true", ["true"])
        launch.cgroup = directory.number
        let failure = #expect(throws: Failure.self) { _ = try launch.start() }
        #expect(failure?.code == ENODEV)
    }
}
