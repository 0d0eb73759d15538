import CLinux
import Glibc

extension SystemCallFilter {
    /// The filter of the certificate authority; docs/threat-model.md gives the reason for each call.
    package static let ca: SystemCallFilter = {
        var filter = SystemCallFilter()
        // The channels to the hook and to the supervisor.
        filter.allow("poll", "ppoll", "recvmsg", "sendmsg", "close")
        filter.allowMemory()
        // Locks of libcrypto and the Swift runtime; a single thread never waits for them.
        filter.allow("futex")
        // libcrypto gets random numbers, and compares the process ID with that of the process that seeded them.
        filter.allow("getrandom", "getpid")
        // Deadlines, if the vDSO has to fall back on the system call. vdso(7)
        filter.allow("clock_gettime", "gettimeofday", "time")
        filter.closeOff()
        return filter
    }()
}
