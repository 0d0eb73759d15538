import CLinux
import CSystemCall
import Glibc
import Platform
import RuntimeConfinement
import RuntimeFilter

/// A supervisor that somebody has taken over: it confines itself as the real one does, and then tries one thing.
///
///     HostileSupervisor DIRECTORY ATTEMPT
///
/// In the directory are `state`, `index`, `run` and, in that, `lease` and `other`. Ends with 0 where the attempt
/// succeeded, else with the `errno`.
@main
struct Main {
    static func main() throws {
        let (root, attempt) = (CommandLine.arguments[1], CommandLine.arguments[2])
        if attempt.hasPrefix("believes ") { exit(Falsehoods.believes(attempt)) }
        try Hardening.forbidNewPrivileges()
        if attempt == "opens its state, as a worker" {
            try Landlock(denying: .abstractSocketsAndSignals)?.enforce()
            exit(code(open("\(root)/state", O_RDONLY | O_DIRECTORY)))
        }
        if attempt == "starts a program without a descriptor" { exit(startWithoutDescriptor()) }
        let log = try listen(as: "\(root)/log")
        var connection = LogConnection("hostile", path: "\(root)/log")
        let confinement = try SupervisorConfinement()
        try confinement.allowState(.open("\(root)/state", .directory))
        try confinement.allowIndex(.open("\(root)/index", .directory))
        try confinement.allowLease(.open("\(root)/run/lease", .directory))
        try confinement.allowRemoval(in: .open("\(root)/run", .directory))
        try confinement.begin()
        try confinement.enforce(under: SystemCallFilter.supervisor.compiled())
        if attempt == "writes to the log" { exit(hasLog(&connection, log)) }
        exit(files(attempt, root) ?? calls(attempt) ?? 127)
    }

    private static func listen(as path: String) throws -> Descriptor {
        let log = Descriptor(owning: socket(AF_UNIX, CInt(SOCK_DGRAM.rawValue | SOCK_CLOEXEC.rawValue), 0))
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: Array(path.utf8)) }
        let number = log.number
        try systemCall("bind", "cannot listen") {
            withUnsafePointer(to: &address) {
                $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    bind(number, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
                }
            }
        }
        return log
    }

    /// Writes before and after the log daemon has hung up on it.
    private static func hasLog(_ connection: inout LogConnection, _ log: borrowing Descriptor) -> CInt {
        var line = [UInt8](repeating: 0, count: 100)
        for _ in 0..<2 {
            connection.send(LOG_NOTICE, "a line", LogFields(.notice))
            guard read(log.number, &line, line.count) > 0 else { return errno }
            connection.disconnect()
        }
        return 0
    }

    /// With no descriptor free for the child's own, nothing of it is left; ends with why it was not started.
    private static func startWithoutDescriptor() -> CInt {
        // The child's own may begin at 3, and none is left here.
        var limit = rlimit(rlim_cur: 4, rlim_max: 4)
        setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
        while open("/dev/null", O_RDONLY | O_CLOEXEC) >= 0 {}
        do throws(Failure) {
            _ = try ProgramLaunch("/bin/sleep", ["sleep", "infinity"]).start().end()
            return 0
        } catch {
            // ECHILD: there is no child, dead or alive.
            return waitpid(-1, nil, WNOHANG) == -1 && errno == ECHILD ? error.code ?? 127 : 126
        }
    }

    private static func files(_ attempt: String, _ root: String) -> CInt? {
        switch attempt {
        case "replaces its state":
            code(open("\(root)/state/state.new", O_CREAT | O_TRUNC | O_WRONLY, 0o600))
                | code(renameat(AT_FDCWD, "\(root)/state/state.new", AT_FDCWD, "\(root)/state/state"))
        case "reads its state": code(open("\(root)/state/lock", O_RDWR))
        case "lists its state": code(open("\(root)/state", O_RDONLY | O_DIRECTORY))
        case "changes the index": code(open("\(root)/index/index", O_CREAT | O_RDWR, 0o600))
        case "lists the index": code(open("\(root)/index", O_RDONLY | O_DIRECTORY))
        case "removes its lease":
            code(open("\(root)/run/lease", O_RDONLY | O_DIRECTORY))
                | code(unlinkat(AT_FDCWD, "\(root)/run/lease/control", 0))
                | code(unlinkat(AT_FDCWD, "\(root)/run/lease", AT_REMOVEDIR))
        case "reads its lease": code(open("\(root)/run/lease/control", O_RDONLY))
        case "makes a file in its lease": code(open("\(root)/run/lease/new", O_CREAT | O_WRONLY, 0o600))
        case "lists the leases": code(open("\(root)/run", O_RDONLY | O_DIRECTORY))
        case "reads another lease": code(open("\(root)/run/other/lease", O_RDONLY))
        case "removes another lease's file": code(unlinkat(AT_FDCWD, "\(root)/run/other/lease", 0))
        case "makes a directory": code(mkdirat(AT_FDCWD, "\(root)/state/new", 0o700))
        case "looks at a process": code(open("/proc/self/stat", O_RDONLY))
        case "looks at a device": code(open("/sys/class", O_RDONLY | O_DIRECTORY))
        case "reads a file of the host's": code(open("/etc/passwd", O_RDONLY))
        case "writes a file of the host's": code(open("/tmp/hostile", O_CREAT | O_WRONLY, 0o600))
        case "leaves its directory": code(open("\(root)/state/../new", O_CREAT | O_WRONLY, 0o600))
        case "changes what the kernel does": code(open("/proc/sys/kernel/core_pattern", O_WRONLY))
        default: nil
        }
    }

    private static func calls(_ attempt: String) -> CInt? {
        switch attempt {
        case "forks": code(fork())
        case "executes a program": code(execv("/bin/true", [nil]))
        case "connects over the network": code(socket(AF_INET, CInt(SOCK_STREAM.rawValue), 0))
        case "connects to a daemon": code(socket(AF_UNIX, CInt(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0))
        case "stops a process": code(pidfd_send_signal(0, SIGTERM, nil, 0))
        case "names a process": code(pidfd_open(getpid(), 0))
        case "maps shared memory":
            mmap(nil, 4096, PROT_READ, MAP_SHARED | MAP_ANONYMOUS, -1, 0) == MAP_FAILED ? errno : 0
        case "makes memory executable": code(mprotect(nil, 4096, PROT_EXEC))
        case "becomes another user": code(setuid(1))
        case "takes 4 MiB in one piece": takeMemory()
        case "advises huge pages": code(CInt(csystemcall(Int(SYS_madvise), 0, 4096, 14, 0, 0, 0)))
        case "asks for a terminal": code(CInt(csystemcall(Int(SYS_ioctl), 1, 0x802c_542a, 0, 0, 0, 0)))
        case "makes a call that no kernel has": code(CInt(csystemcall(1000, 0, 0, 0, 0, 0, 0)))
        default: nil
        }
    }

    private static func takeMemory() -> CInt {
        guard let block = malloc(4 << 20) else { return errno }
        memset(block, 1, 4 << 20)
        free(block)
        return 0
    }

    private static func code(_ result: CInt) -> CInt { result < 0 ? errno : 0 }
}
