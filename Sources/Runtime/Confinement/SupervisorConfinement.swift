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
    private var groups: [gid_t] = []

    /// Its worker is another user's; and a key is never in swap, whatever the limit for locked memory.
    private static let capabilities: Set<CInt> = [CAP_KILL, CAP_IPC_LOCK]

    /// Whether files are out of its reach: not where the kernel has no Landlock.
    public var restrictsFiles: Bool {
        switch landlock {
        case .some: true
        case .none: false
        }
    }

    /// Begins with no file at all.
    public init() throws(Failure) {
        landlock = try Landlock(denying: .abstractSockets)
    }

    /// Lets it read its state and replace it.
    public borrowing func allowState(_ directory: borrowing Descriptor) throws(Failure) {
        try landlock?.allow(.replaceFiles, below: directory)
    }

    /// Lets it read the index, change it and look for what is in it.
    public borrowing func allowIndex(_ directory: borrowing Descriptor) throws(Failure) {
        try landlock?.allow([.replaceFiles, .readDirectory], below: directory)
    }

    /// Lets it remove what is in its lease.
    public borrowing func allowLease(_ directory: borrowing Descriptor) throws(Failure) {
        try landlock?.allow([.readDirectory, .removeFile], below: directory)
    }

    /// Lets it remove empty directories in this one; to remove what is in them has to be allowed itself.
    public borrowing func allowRemoval(in directory: borrowing Descriptor) throws(Failure) {
        try landlock?.allow(.removeDirectory, below: directory)
    }

    /// Lets it open the host's TPM, for the counter, and see in sysfs that it is hardware.
    ///
    /// udev gives the device to a group (`tss`), which root needs without CAP_DAC_OVERRIDE.
    public mutating func allowDevice(_ path: String) throws(Failure) {
        let device = try Descriptor.open(path, OpenOptions(openPathOnly))
        try landlock?.allow([.readFile, .writeFile], below: device)
        try landlock?.allow(.read, below: try .open("/sys", OpenOptions(openPathOnly | O_DIRECTORY)))
        groups.append(try device.status(path).st_gid)
        try joinGroups()
    }

    /// Leaves all other groups.
    ///
    /// The counter is read before the rest is given up, and AppArmor grants no CAP_DAC_OVERRIDE.
    private borrowing func joinGroups() throws(Failure) {
        let groups = self.groups
        try systemCall("setgroups", "cannot leave the supervisor's groups") { setgroups(groups.count, groups) }
    }

    /// Gives up the rest, for good.
    ///
    /// The worker must have been started: with PR_SET_NO_NEW_PRIVS, AppArmor refuses a program of a profile of its own
    /// (security/apparmor/domain.c, `apparmor_bprm_creds_for_exec`).
    public borrowing func enforce() throws(Failure) {
        try Hardening.forbidNewPrivileges()
        try joinGroups()
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
        // No stream sockets: behind those are daemons that do for root what it asks, and Landlock does not know them.
        let (datagram, stream) = (CInt(SOCK_DGRAM.rawValue), CInt(SOCK_STREAM.rawValue))
        let closeOnExec = CInt(SOCK_CLOEXEC.rawValue)
        filter.allow("socket", where: .equals(0, AF_UNIX), .equals(1, datagram | closeOnExec))
        filter.refuse("socket", with: EACCES, where: .equals(0, AF_UNIX), .equals(1, stream | closeOnExec))
        filter.kill("socket", where: !.equals(0, AF_UNIX))
        filter.allow("connect", "sendto")
        // State, index, lease, and their locks.
        filter.allow("openat", "openat2", "fstat", "newfstatat", "fstatfs", "getdents64", "fcntl")
        filter.allow("unlinkat", "renameat", "fsync", "fdatasync", "ftruncate", "flock", "pread64", "pwrite64")
        // Which TPM is the host's.
        filter.allow("access", "faccessat")
        // The worker's end. It has pidfds of its worker and of the init alone, and gets no others.
        filter.allow("wait4")
        filter.allow("pidfd_send_signal", where: .equals(1, SIGKILL))
        filter.kill("pidfd_send_signal", where: !.equals(1, SIGKILL))
        filter.allowMemory()
        filter.allow("futex", "getrandom", "getpid", "geteuid")
        filter.allow("clock_gettime", "gettimeofday", "time")
        filter.refuseTerminals()
        filter.allow("restart_syscall", "exit", "exit_group")
        filter.killAttacks()
        return filter
    }()
}
