import CLinux
import Glibc
import Platform

/// What a supervisor gives up once its worker runs and its state is open, before the worker says anything but that it is
/// confined.
///
/// A supervisor never parses what a tenant sends, but it hears the worker, which a tenant may have taken over, and it
/// holds a key. docs/threat-model.md has what each step is for.
public struct SupervisorConfinement: ~Copyable {
    private let landlock: Landlock?

    /// Its worker is another user's; and a key is never in swap, whatever the limit for locked memory.
    private static let capabilities: Set<CInt> = [CAP_KILL, CAP_IPC_LOCK]

    /// Begins with no file but what the kernel says of processes and TPMs. proc(5), sysfs(5)
    public init() throws(Failure) {
        let landlock = try Landlock(denying: .abstractSockets)
        for path in ["/proc", "/sys"] {
            try landlock?.allow(.read, below: try .open(path, OpenOptions(openPathOnly | O_DIRECTORY)))
        }
        self.landlock = landlock
    }

    /// Lets it do its work in one of our own directories.
    public borrowing func allowOwn(_ directory: borrowing Descriptor) throws(Failure) {
        try landlock?.allow(.own, below: directory)
    }

    /// Lets it open the host's TPM, for the counter.
    public borrowing func allowDevice(_ path: String) throws(Failure) {
        try landlock?.allow([.readFile, .writeFile], below: try .open(path, OpenOptions(openPathOnly)))
    }

    /// Gives up the rest, for good.
    ///
    /// The worker must have been started: with PR_SET_NO_NEW_PRIVS, AppArmor refuses a program of a profile of its own
    /// (security/apparmor/domain.c, `apparmor_bprm_creds_for_exec`).
    public borrowing func enforce() throws(Failure) {
        try Hardening.forbidNewPrivileges()
        // syslog(3) reads the time zone when it is first needed.
        tzset()
        try Capabilities.bound(to: Self.capabilities)
        try Capabilities.keep(Self.capabilities)
        try ResourceLimit.messageQueues(0).enforce()
        try landlock?.enforce()
        try SystemCallFilter.supervisor.enforce()
    }
}

extension SystemCallFilter {
    /// What a supervisor needs once its vTPM starts up; docs/threat-model.md has the reason for each.
    static let supervisor: SystemCallFilter = {
        var filter = SystemCallFilter()
        // Messages of the worker, the hook and the control socket; signals.
        filter.allow("poll", "ppoll", "read", "write", "recvmsg", "sendmsg", "accept4", "getsockopt", "close")
        // The log, which may have to be connected to again.
        filter.allow("socket", where: .equals(0, AF_UNIX))
        filter.allow("connect", "sendto")
        // State, index, lease, and their locks.
        filter.allow("openat", "openat2", "fstat", "newfstatat", "fstatfs", "lseek", "getdents64", "fcntl")
        filter.allow("mkdir", "mkdirat", "unlink", "unlinkat", "rename", "renameat", "renameat2", "linkat")
        filter.allow("fsync", "ftruncate", "flock")
        // Which TPM is the host's.
        filter.allow("access", "faccessat", "readlink", "readlinkat", "stat")
        // The worker's end, and that of those who have a state.
        filter.allow("pidfd_open", "pidfd_send_signal", "wait4")
        // Memory, never executable and never a file's.
        filter.allow("mmap", where: .lacks(2, PROT_EXEC), .has(3, MAP_ANONYMOUS))
        filter.allow("mprotect", where: .lacks(2, PROT_EXEC))
        filter.allow("brk", "munmap", "mremap", "madvise", "mlock", "munlock")
        filter.allow("futex", "getrandom", "getpid", "gettid", "geteuid")
        filter.allow("clock_gettime", "gettimeofday", "time")
        filter.allow("restart_syscall", "exit", "exit_group")
        return filter
    }()
}
