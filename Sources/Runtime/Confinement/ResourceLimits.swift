import Glibc
import Platform

/// How much of the host a process of ours may use. setrlimit(2)
struct ResourceLimit {
    private let resource: __rlimit_resource_t
    private let name: String
    /// The most that the process may use, which it cannot raise again without CAP_SYS_RESOURCE.
    private let value: rlim_t

    private init(_ resource: __rlimit_resource, _ name: String, _ value: Int) {
        self.resource = __rlimit_resource_t(resource.rawValue)
        self.name = name
        self.value = rlim_t(value)
    }

    /// Processes and threads of the same user.
    static func processes(_ count: Int) -> ResourceLimit { .init(__RLIMIT_NPROC, "RLIMIT_NPROC", count) }
    /// Open descriptors.
    static func descriptors(_ count: Int) -> ResourceLimit { .init(RLIMIT_NOFILE, "RLIMIT_NOFILE", count) }
    /// Bytes of a file that is written.
    static func fileSize(_ bytes: Int) -> ResourceLimit { .init(RLIMIT_FSIZE, "RLIMIT_FSIZE", bytes) }
    /// Bytes of private writable memory.
    static func memory(_ bytes: Int) -> ResourceLimit { .init(RLIMIT_DATA, "RLIMIT_DATA", bytes) }
    /// Bytes of all that is mapped.
    static func addressSpace(_ bytes: Int) -> ResourceLimit { .init(RLIMIT_AS, "RLIMIT_AS", bytes) }
    /// Bytes of locked memory, counted with what is only mapped where all of it is to be locked.
    static func lockedMemory(_ bytes: Int) -> ResourceLimit { .init(__RLIMIT_MEMLOCK, "RLIMIT_MEMLOCK", bytes) }
    /// Bytes in message queues.
    static func messageQueues(_ bytes: Int) -> ResourceLimit { .init(__RLIMIT_MSGQUEUE, "RLIMIT_MSGQUEUE", bytes) }

    /// Sets it.
    func enforce() throws(Failure) {
        let what = "cannot limit what this process may use"
        var limit = rlimit(rlim_cur: value, rlim_max: value)
        try systemCall("setrlimit \(name)", what) { setrlimit(resource, &limit) }
        try systemCall("getrlimit \(name)", what) { getrlimit(resource, &limit) }
        guard limit.rlim_cur == value, limit.rlim_max == value else {
            throw Failure(what, because: "\(name) is another than was set")
        }
    }
}
