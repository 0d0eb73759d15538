import CLinux
import Glibc
import Platform
import RuntimeControl

/// The confinement of a worker, before it receives a TPM's state or a byte from a tenant.
///
/// docs/threat-model.md gives the reason for each step. The first step that fails throws, and the worker is not used.
/// The supervisor inspects the result from outside before it sends the state (``WorkerInspection``).
public enum WorkerConfinement {
    /// The limit of descriptors.
    ///
    /// All are used: three standard descriptors, the channel, two by which it watches its container, the device, and one
    /// more while it reads or receives.
    private static let descriptorLimit = 8

    /// The least locked memory that a worker with a new TPM needs, in bytes.
    private static let leastLockedMemory = 64 << 10

    /// Throws if a worker could not lock even the memory for a new TPM's state. getrlimit(2), RLIMIT_MEMLOCK
    ///
    /// The supervisor calls it, because the worker inherits its limit and its right to raise it. It does so before it
    /// makes a state, which would otherwise have to be removed again.
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

    /// Closes all descriptors above the channel; throws if one below it is open and not `/dev/null`.
    ///
    /// A worker calls it before anything else.
    public static func refuseInheritance(but channel: CInt) throws(Failure) {
        try Hardening.closeInheritedDescriptors(from: UInt32(channel) + 1)
        for number in 0..<channel {
            var status = stat()
            // A closed descriptor is harmless as well.
            guard fstat(number, &status) == 0 else { continue }
            guard status.st_mode & S_IFMT == S_IFCHR, status.st_rdev == clinux_makedev(1, 3) else {
                throw Failure("cannot confine the worker", because: "it inherited descriptor \(number)")
            }
        }
    }

    /// Confines this process, which must run as root with one thread as the first process of a PID namespace.
    ///
    /// The process enters the network namespace for good. The filter comes last. Namespaces, the empty root and the limits
    /// need root, so they come before the change of user. Do everything that needs files, such
    /// as the initialization of libraries, before the call.
    public static func enforce(
        as user: WorkerUser,
        in network: consuming Descriptor,
        under filter: SystemCallProgram
    ) throws(Failure) {
        try Hardening.protectMemory()
        try Hardening.forbidNewPrivileges()
        guard getpid() == 1 else {
            throw Failure("cannot confine the worker", because: "it has no PID namespace of its own")
        }
        let number = network.number
        try systemCall("setns", "cannot leave the host's network") { setns(number, clinux_clone_newnet) }
        _ = consume network
        try systemCall("unshare", "cannot leave the host's System V IPC and host name") {
            unshare(clinux_clone_newipc | clinux_clone_newuts)
        }
        try EmptyRoot.enter()
        try limitResources()
        try lockMemory()
        try Capabilities.bound()
        try user.become()
        try Capabilities.keep()
        // The change of user has reset PR_SET_DUMPABLE to the value of /proc/sys/fs/suid_dumpable (prctl(2)).
        try Hardening.protectMemory()
        try Landlock(denying: .abstractSocketsAndSignals)?.enforce()
        forbidExecutableMemory()
        try filter.enforce()
    }

    private static func limitResources() throws(Failure) {
        // The worker itself is the only process.
        try ResourceLimit.processes(1).enforce()
        try ResourceLimit.descriptors(descriptorLimit).enforce()
        try ResourceLimit.fileSize(0).enforce()
        try ResourceLimit.messageQueues(0).enforce()
        try ResourceLimit.memory(VTPMLimits.workerMemory).enforce()
        try ResourceLimit.addressSpace(VTPMLimits.workerAddressSpace).enforce()
    }

    /// Keeps the TPM's seeds and keys, which can be anywhere in the memory of libtpms, out of swap. mlockall(2)
    ///
    /// Pages are locked on their first use, so unused code takes no memory. All mapped memory counts, which is more
    /// than the usual limit. If the limit cannot be raised for want of CAP_SYS_RESOURCE, only this program's own
    /// buffers for the state are locked, and the supervisor logs it.
    private static func lockMemory() throws(Failure) {
        do {
            try ResourceLimit.lockedMemory(VTPMLimits.workerAddressSpace).enforce()
        } catch let error where error.code == EPERM {
            return
        }
        try systemCall("mlockall", "cannot lock the worker's memory") {
            mlockall(CInt(MCL_CURRENT) | CInt(MCL_FUTURE) | clinux_mcl_onfault)
        }
    }

    /// Makes the kernel refuse memory that is writable and executable, or becomes executable. PR_SET_MDWE of prctl(2)
    ///
    /// Needs Linux 6.3 and ignores errors, since the system call filter does the same on every kernel.
    private static func forbidExecutableMemory() {
        _ = clinux_prctl(clinux_pr_set_mdwe, clinux_pr_mdwe_refuse_exec_gain)
    }
}
