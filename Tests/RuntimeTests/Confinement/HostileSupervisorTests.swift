import CLinux
import Glibc
import Platform
import Testing

/// What the supervisor's own confinement lets through, and what not.
struct HostileSupervisorTests {
    static let program = VTPMUnderTest.program("HostileSupervisor")

    /// What it needs, and what a library may try.
    static let harmless: [(String, CInt)] = [
        ("replaces its state", 0),
        ("reads its state", 0),
        ("changes the index", 0),
        ("lists the index", 0),
        ("removes its lease", 0),
        ("writes to the log", 0),
        ("takes 4 MiB in one piece", 0),
        ("advises huge pages", ENOSYS),
        ("asks for a terminal", ENOTTY),
        ("makes a call that no kernel has", ENOSYS),
        ("connects to a daemon", EACCES),
    ]

    /// What only Landlock keeps from it.
    static let foreignFiles = [
        "opens its state, as a worker", "lists its state", "reads its lease", "makes a file in its lease",
        "lists the leases", "reads another lease", "removes another lease's file", "looks at a process",
        "looks at a device", "reads a file of the host's", "writes a file of the host's", "leaves its directory",
        "changes what the kernel does",
    ]

    static let deadly = [
        "makes a directory", "names a process", "stops a process", "maps shared memory", "forks", "executes a program",
        "connects over the network", "makes memory executable", "becomes another user",
    ]

    /// With the tunables that stand for C libraries which ask for huge pages by themselves, too. ld.so(8)
    @Test(arguments: harmless, ["", "GLIBC_TUNABLES=glibc.malloc.hugetlb=1", "GLIBC_TUNABLES=glibc.malloc.hugetlb=2"])
    func itDoesItsWork(_ attempt: (name: String, code: CInt), _ tunable: String) throws {
        #expect(try end(of: attempt.name, environment: [tunable]) == .exited(attempt.code))
    }

    @Test(.enabled(if: clinux_landlock_version() > 0, "the kernel has no Landlock"), arguments: foreignFiles)
    func itReachesWhatIsItsOwn(_ attempt: String) throws {
        #expect(try end(of: attempt) == .exited(EACCES))
    }

    @Test(arguments: deadly) func anAttackIsItsEnd(_ attempt: String) throws {
        #expect(try end(of: attempt) == .killed(SIGSYS))
    }

    /// A child without a descriptor of its own is not left behind.
    @Test func aProgramThatCannotBeWatchedIsNotStarted() throws {
        #expect(try end(of: "starts a program without a descriptor") == .exited(EMFILE))
    }

    private func end(of attempt: String, environment: [String] = []) throws -> WaitStatus {
        let temporary = try TemporaryDirectory()
        for directory in ["state", "index", "run", "run/lease", "run/other"] { _ = try temporary.directory(directory) }
        for file in ["state/state", "state/lock", "run/lease/control", "run/other/lease"] {
            try temporary.write(file, [])
        }
        let arguments = ["HostileSupervisor", temporary.path, attempt]
        return try ProgramLaunch(Self.program, arguments, environment: environment).start().wait()
    }
}
