import CLinux
import Glibc
import Platform
import Testing

/// What the supervisor's own confinement lets through, and what not.
@Suite(.enabled(if: clinux_landlock_version() > 0, "the kernel has no Landlock")) struct HostileSupervisorTests {
    static let attempts: [(String, WaitStatus)] = [
        ("writes a state", .exited(0)),
        ("makes and removes a directory", .exited(0)),
        ("looks at a process", .exited(0)),
        ("opens its directory, as a worker", .exited(EACCES)),
        ("reads a file of the host's", .exited(EACCES)),
        ("writes a file of the host's", .exited(EACCES)),
        ("leaves its directory", .exited(EACCES)),
        ("changes what the kernel does", .exited(EACCES)),
        ("connects to a daemon", .exited(EACCES)),
        ("stops a process", .killed(SIGSYS)),
        ("maps shared memory", .killed(SIGSYS)),
        ("forks", .killed(SIGSYS)),
        ("executes a program", .killed(SIGSYS)),
        ("connects over the network", .killed(SIGSYS)),
        ("makes memory executable", .killed(SIGSYS)),
        ("becomes another user", .killed(SIGSYS)),
    ]

    @Test(arguments: attempts) func itReachesWhatIsItsOwn(_ attempt: String, _ expected: WaitStatus) throws {
        let temporary = try TemporaryDirectory()
        _ = try temporary.directory("own")
        let program = VTPMUnderTest.program("HostileSupervisor")
        let status = try ProgramLaunch(program, ["HostileSupervisor", "\(temporary.path)/own", attempt]).start().wait()
        #expect(status == expected)
    }
}
