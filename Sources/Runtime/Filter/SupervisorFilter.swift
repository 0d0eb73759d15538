import Glibc

extension SystemCallFilter {
    /// The filter of a supervisor whose vTPM starts up; docs/threat-model.md gives the reason for each call.
    package static let supervisor: SystemCallFilter = {
        var filter = SystemCallFilter()
        // Messages from the worker, the hook and the control socket; signals.
        filter.allow("poll", "ppoll", "read", "write", "recvmsg", "sendmsg", "accept4", "getsockopt", "close")
        // The log, which may have to be reconnected. Stream sockets are refused: daemons behind them carry out requests
        // of root, and Landlock does not restrict sockets with a path.
        let (datagram, stream) = (CInt(SOCK_DGRAM.rawValue), CInt(SOCK_STREAM.rawValue))
        let closeOnExec = CInt(SOCK_CLOEXEC.rawValue)
        filter.allow("socket", where: .isExactly(0, AF_UNIX), .equals(1, datagram | closeOnExec))
        filter.refuse("socket", with: EACCES, where: .isExactly(0, AF_UNIX), .equals(1, stream | closeOnExec))
        filter.kill("socket", where: .isNot(0, AF_UNIX))
        filter.allow("connect", "sendto")
        // The state, the index and the lease, with their locks.
        filter.allow("openat", "openat2", "fstat", "newfstatat", "fstatfs", "getdents64", "fcntl")
        filter.allow("unlinkat", "renameat", "fsync", "fdatasync", "ftruncate", "flock", "pread64", "pwrite64")
        // Finding the host's TPM in sysfs.
        filter.allow("access", "faccessat")
        // Ending the worker. The supervisor has pidfds only of its worker and the init, and cannot open others.
        filter.allow("wait4")
        filter.allow("pidfd_send_signal", where: .isExactly(1, SIGKILL))
        filter.kill("pidfd_send_signal", where: .isNot(1, SIGKILL))
        filter.allowMemory()
        filter.allow("futex", "getrandom", "getpid", "geteuid")
        filter.allow("clock_gettime", "gettimeofday", "time")
        filter.refuseTerminals()
        filter.allow("restart_syscall", "exit", "exit_group")
        filter.killAttacks()
        return filter
    }()
}
