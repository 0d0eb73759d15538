import CLinux
import Glibc
import Platform
import RuntimeConfinement

/// A supervisor that somebody has taken over: it confines itself as the real one does, and then tries one thing.
///
///     HostileSupervisor DIRECTORY ATTEMPT
///
/// The directory is its own. Ends with 0 where the attempt succeeded, else with the `errno`.
@main
struct Main {
    static func main() throws {
        let (directory, attempt) = (CommandLine.arguments[1], CommandLine.arguments[2])
        try Hardening.forbidNewPrivileges()
        if attempt == "opens its directory, as a worker" {
            try Landlock(denying: .abstractSocketsAndSignals)?.enforce()
            exit(code(open(directory, O_RDONLY | O_DIRECTORY)))
        }
        let confinement = try SupervisorConfinement()
        try confinement.allowOwn(.open(directory, .directory))
        try confinement.enforce()
        exit(result(of: attempt, directory))
    }

    private static func result(of attempt: String, _ directory: String) -> CInt {
        switch attempt {
        case "writes a state": code(open("\(directory)/state", O_CREAT | O_WRONLY, 0o600))
        case "makes and removes a directory":
            code(mkdir("\(directory)/new", 0o700)) | code(unlinkat(AT_FDCWD, "\(directory)/new", AT_REMOVEDIR))
        case "looks at a process": code(open("/proc/self/stat", O_RDONLY))
        case "reads a file of the host's": code(open("/etc/passwd", O_RDONLY))
        case "writes a file of the host's": code(open("/tmp/hostile", O_CREAT | O_WRONLY, 0o600))
        case "leaves its directory": code(open("\(directory)/../other", O_CREAT | O_WRONLY, 0o600))
        case "changes what the kernel does": code(open("/proc/sys/kernel/core_pattern", O_WRONLY))
        case "forks": code(fork())
        case "executes a program": code(execv("/bin/true", [nil]))
        case "connects over the network": code(socket(AF_INET, CInt(SOCK_STREAM.rawValue), 0))
        case "connects to a daemon": code(socket(AF_UNIX, CInt(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0))
        case "stops a process": code(pidfd_send_signal(pidfd_open(getpid(), 0), SIGTERM, nil, 0))
        case "maps shared memory":
            mmap(nil, 4096, PROT_READ, MAP_SHARED | MAP_ANONYMOUS, -1, 0) == MAP_FAILED ? errno : 0
        case "makes memory executable": code(mprotect(nil, 4096, PROT_EXEC))
        case "becomes another user": code(setuid(1))
        default: 127
        }
    }

    private static func code(_ result: CInt) -> CInt { result < 0 ? errno : 0 }
}
