import CLinux
import Glibc

extension SystemCallFilter {
    /// The filter of an initialized TPM server; docs/threat-model.md gives the reason for each call.
    package static let worker: SystemCallFilter = {
        var filter = SystemCallFilter()
        // Commands and responses; the channel to the supervisor.
        filter.allow("poll", "ppoll", "read", "write", "recvmsg", "sendmsg", "close")
        // Whether the container's cgroup has processes, once the supervisor is gone.
        filter.allow("pread64")
        filter.allowMemory()
        // Locks of libcrypto and the Swift runtime; a single thread never waits for them.
        filter.allow("futex")
        // libcrypto gets random numbers, and compares the process ID with that of the process that seeded them.
        filter.allow("getrandom", "getpid")
        // The TPM's clock and deadlines, if the vDSO has to fall back on the system call. vdso(7)
        filter.allow("clock_gettime", "gettimeofday", "time")
        // libtpms prints a line when it enters failure mode, and dprintf(3) examines the descriptor first.
        filter.allow("fstat", "lseek")
        filter.allow("newfstatat", where: .equals(3, clinux_at_empty_path))
        filter.closeOff()
        return filter
    }()
}
