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

    /// Gives up what the supervisor no longer needs, even to inspect its worker, while the worker still starts.
    ///
    /// Start the worker before: with PR_SET_NO_NEW_PRIVS, AppArmor refuses to execute a program that has its own
    /// profile (security/apparmor/domain.c, `apparmor_bprm_creds_for_exec`).
    public borrowing func begin() throws(Failure) {
        try Hardening.forbidNewPrivileges()
        try joinGroups()
        try Capabilities.bound(to: Self.capabilities)
        try ResourceLimit.messageQueues(0).enforce()
    }

    /// Completes the confinement permanently, after ``begin()``.
    public borrowing func enforce(under filter: SystemCallProgram) throws(Failure) {
        try Capabilities.keep(Self.capabilities)
        try landlock?.enforce()
        LockWait.end()
        try filter.enforce()
    }
}
