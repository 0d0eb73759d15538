import CLinux
import Glibc
import Platform

/// The confinement of a supervisor, once its worker runs and its state is open.
///
/// It is enforced before the worker sends anything except that it is confined. A supervisor never parses messages of a
/// tenant, but it holds a key and reads messages of the worker, which a tenant may control. docs/threat-model.md gives
/// the reason for each step.
public struct SupervisorConfinement: ~Copyable {
    private let landlock: Landlock?
    private var groups: [gid_t] = []

    /// CAP_KILL, since the worker runs as another user; CAP_IPC_LOCK, to lock keys in memory beyond RLIMIT_MEMLOCK.
    private static let capabilities: Set<CInt> = [CAP_KILL, CAP_IPC_LOCK]

    /// Whether access to files is restricted; false if the kernel does not have Landlock.
    public var restrictsFiles: Bool {
        switch landlock {
        case .some: true
        case .none: false
        }
    }

    /// Creates a confinement that allows no files.
    public init() throws(Failure) {
        landlock = try Landlock(denying: .abstractSockets)
    }

    /// Allows reading and replacing the state in this directory.
    public borrowing func allowState(_ directory: borrowing Descriptor) throws(Failure) {
        try landlock?.allow(.replaceFiles, below: directory)
    }

    /// Allows reading, changing and listing the index in this directory.
    public borrowing func allowIndex(_ directory: borrowing Descriptor) throws(Failure) {
        try landlock?.allow([.replaceFiles, .readDirectory], below: directory)
    }

    /// Allows listing this lease directory and removing its files.
    public borrowing func allowLease(_ directory: borrowing Descriptor) throws(Failure) {
        try landlock?.allow([.readDirectory, .removeFile], below: directory)
    }

    /// Allows removing empty directories in this one, but not the files in them.
    public borrowing func allowRemoval(in directory: borrowing Descriptor) throws(Failure) {
        try landlock?.allow(.removeDirectory, below: directory)
    }

    /// Allows opening the host's TPM for the counter, and reading in sysfs whether it is hardware.
    ///
    /// Joins the group of the device, `tss` by udev's rules: root needs it without CAP_DAC_OVERRIDE.
    public mutating func allowDevice(_ path: String) throws(Failure) {
        let device = try Descriptor.open(path, OpenOptions(openPathOnly))
        try landlock?.allow([.readFile, .writeFile], below: device)
        try landlock?.allow(.read, below: try .open("/sys", OpenOptions(openPathOnly | O_DIRECTORY)))
        groups.append(try device.status(path).st_gid)
        try joinGroups()
    }

    /// Sets the supplementary groups to those of the devices. setgroups(2)
    ///
    /// ``allowDevice(_:)`` needs this at once, since the counter is read before ``enforce()`` and AppArmor does not
    /// grant CAP_DAC_OVERRIDE.
    private borrowing func joinGroups() throws(Failure) {
        let groups = self.groups
        try systemCall("setgroups", "cannot leave the supervisor's groups") { setgroups(groups.count, groups) }
    }

    /// Enforces the confinement permanently.
    ///
    /// Start the worker before: with PR_SET_NO_NEW_PRIVS, AppArmor refuses to execute a program that has its own
    /// profile (security/apparmor/domain.c, `apparmor_bprm_creds_for_exec`).
    public borrowing func enforce() throws(Failure) {
        try Hardening.forbidNewPrivileges()
        try joinGroups()
        try Capabilities.bound(to: Self.capabilities)
        try Capabilities.keep(Self.capabilities)
        try ResourceLimit.messageQueues(0).enforce()
        try landlock?.enforce()
        LockWait.end()
        try SystemCallFilter.supervisor.enforce()
    }
}

extension SystemCallFilter {
    /// The filter of a supervisor whose vTPM starts up; docs/threat-model.md gives the reason for each call.
    static let supervisor: SystemCallFilter = {
        var filter = SystemCallFilter()
        // Messages from the worker, the hook and the control socket; signals.
        filter.allow("poll", "ppoll", "read", "write", "recvmsg", "sendmsg", "accept4", "getsockopt", "close")
        // The log, which may have to be reconnected. Stream sockets are refused: daemons behind them carry out requests
        // of root, and Landlock does not restrict sockets with a path.
        let (datagram, stream) = (CInt(SOCK_DGRAM.rawValue), CInt(SOCK_STREAM.rawValue))
        let closeOnExec = CInt(SOCK_CLOEXEC.rawValue)
        filter.allow("socket", where: .equals(0, AF_UNIX), .equals(1, datagram | closeOnExec))
        filter.refuse("socket", with: EACCES, where: .equals(0, AF_UNIX), .equals(1, stream | closeOnExec))
        filter.kill("socket", where: !.equals(0, AF_UNIX))
        filter.allow("connect", "sendto")
        // The state, the index and the lease, with their locks.
        filter.allow("openat", "openat2", "fstat", "newfstatat", "fstatfs", "getdents64", "fcntl")
        filter.allow("unlinkat", "renameat", "fsync", "fdatasync", "ftruncate", "flock", "pread64", "pwrite64")
        // Finding the host's TPM in sysfs.
        filter.allow("access", "faccessat")
        // Ending the worker. The supervisor has pidfds only of its worker and the init, and cannot open others.
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
