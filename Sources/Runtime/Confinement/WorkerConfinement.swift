import CLinux
import Glibc
import Platform

/// What a worker gives up before it sees a byte of a tenant's or of a TPM's state.
///
/// docs/threat-model.md has what each step is for. Each is checked; the first that fails is an error, and the worker is
/// not used. The supervisor looks at the result from outside before it sends the state (``WorkerInspection``).
public enum WorkerConfinement {
    /// Private writable memory: libtpms, the Swift runtime and buffers take 5 MB, and no command needs more than one.
    private static let memoryLimit = 64 << 20
    /// All that is mapped counts, also the programs' code.
    private static let addressSpaceLimit = 256 << 20
    private static let lockedMemoryLimit = addressSpaceLimit
    /// Standard descriptors, the channel, the init's pidfd, the device; one more while one is received.
    private static let descriptorLimit = 8

    /// How much locked memory a worker with a new TPM takes at least, in bytes.
    private static let leastLockedMemory = 64 << 10

    /// Refuses to start a worker that could not lock even the memory that holds a new TPM's state.
    ///
    /// Called in the supervisor, from which the worker inherits its limit and the right to raise it; before a state is
    /// made, which would have to be removed again. getrlimit(2), RLIMIT_MEMLOCK
    public static func requireLockableMemory() throws(Failure) {
        if try Capabilities.has(CAP_SYS_RESOURCE) { return }
        var limit = rlimit()
        let what = "cannot keep the TPM's state out of swap"
        try systemCall("getrlimit RLIMIT_MEMLOCK", what) {
            getrlimit(__rlimit_resource_t(__RLIMIT_MEMLOCK.rawValue), &limit)
        }
        guard limit.rlim_max < rlim_t(leastLockedMemory) else { return }
        throw Failure(
            what,
            because: "\(limit.rlim_max) bytes of memory may be locked, and a new TPM takes \(leastLockedMemory)",
            hint: "raise RLIMIT_MEMLOCK"
        )
    }

    /// Closes what was inherited after the channel, and makes sure that there is nothing before it but `/dev/null`.
    ///
    /// The first thing that a worker does.
    public static func refuseInheritance(but channel: CInt) throws(Failure) {
        try Hardening.closeInheritedDescriptors(from: UInt32(channel) + 1)
        for number in 0..<channel {
            var status = stat()
            // No such descriptor is as good.
            guard fstat(number, &status) == 0 else { continue }
            guard status.st_mode & S_IFMT == S_IFCHR, status.st_rdev == clinux_makedev(1, 3) else {
                throw Failure("cannot confine the worker", because: "it inherited descriptor \(number)")
            }
        }
    }

    /// Confines this process, which must be root's, have one thread, and be the first of a PID namespace.
    ///
    /// Namespaces, the empty root and the limits need root, so they come before the change of user.
    /// What needs files, such as the libraries' own set-up, must be done before.
    public static func enforce(as user: WorkerUser) throws(Failure) {
        try Hardening.protectMemory()
        try Hardening.forbidNewPrivileges()
        guard getpid() == 1 else {
            throw Failure("cannot confine the worker", because: "it has no PID namespace of its own")
        }
        try systemCall("unshare", "cannot leave the host's network") {
            unshare(clinux_clone_newnet | clinux_clone_newipc | clinux_clone_newuts)
        }
        try EmptyRoot.enter()
        try limitResources()
        try lockMemory()
        try Capabilities.bound()
        try user.become()
        try Capabilities.keep()
        // A change of user has set it to what core dumps of set-user-ID programs get (prctl(2)).
        try Hardening.protectMemory()
        try Landlock(denying: .abstractSocketsAndSignals)?.enforce()
        forbidExecutableMemory()
        try SystemCallFilter.worker.enforce()
    }

    private static func limitResources() throws(Failure) {
        // One process: itself.
        try ResourceLimit.processes(1).enforce()
        try ResourceLimit.descriptors(descriptorLimit).enforce()
        try ResourceLimit.fileSize(0).enforce()
        try ResourceLimit.messageQueues(0).enforce()
        try ResourceLimit.memory(memoryLimit).enforce()
        try ResourceLimit.addressSpace(addressSpaceLimit).enforce()
    }

    /// Keeps the TPM's seeds and keys, which lie in libtpms' memory wherever it puts them, out of swap.
    ///
    /// Pages are locked as they are used, so that code that is not used takes no memory. All that is mapped counts, and
    /// that is more than the usual limit: where it cannot be raised, for want of CAP_SYS_RESOURCE, only what this
    /// program itself holds of a state is locked, and the supervisor says so in the log. mlockall(2)
    private static func lockMemory() throws(Failure) {
        do {
            try ResourceLimit.lockedMemory(lockedMemoryLimit).enforce()
        } catch let error where error.code == EPERM {
            return
        }
        try systemCall("mlockall", "cannot lock the worker's memory") {
            mlockall(CInt(MCL_CURRENT) | CInt(MCL_FUTURE) | clinux_mcl_onfault)
        }
    }

    /// Has the kernel refuse memory that is both writable and executable, or becomes executable.
    ///
    /// Linux 6.3 and later; the filter of system calls does the same with every kernel. PR_SET_MDWE of prctl(2)
    private static func forbidExecutableMemory() {
        _ = clinux_prctl(clinux_pr_set_mdwe, clinux_pr_mdwe_refuse_exec_gain)
    }
}

extension SystemCallFilter {
    /// What a TPM server needs once it is initialized; docs/threat-model.md has the reason for each.
    static let worker: SystemCallFilter = {
        var filter = SystemCallFilter()
        // Commands and answers; the channel to the supervisor.
        filter.allow("poll", "ppoll", "read", "write", "recvmsg", "sendmsg", "close")
        filter.allowMemory()
        // Locks of libcrypto and the Swift runtime, which one thread never waits for.
        filter.allow("futex")
        // libcrypto: random numbers, and whether the process is still the one that seeded them.
        filter.allow("getrandom", "getpid")
        // The TPM's clock and deadlines, where the machine has no clock that can be read without a call.
        filter.allow("clock_gettime", "gettimeofday", "time")
        // libtpms prints a line when it goes into failure mode, and dprintf(3) looks at what it prints to.
        filter.allow("fstat", "lseek")
        filter.allow("newfstatat", where: .equals(3, clinux_at_empty_path))
        filter.refuseTerminals()
        filter.hideFiles()
        filter.allow("restart_syscall", "exit", "exit_group")
        filter.killAttacks()
        // It has no socket but the channel, no process to know of, and no file.
        filter.kill("socket", "connect", "accept4", "sendto", "pidfd_send_signal")
        filter.kill("unlink", "unlinkat", "rename", "renameat", "ftruncate")
        return filter
    }()
}
