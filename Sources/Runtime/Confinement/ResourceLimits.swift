import Glibc
import Platform

/// A resource limit for this process. setrlimit(2)
struct ResourceLimit {
    private let resource: __rlimit_resource_t
    private let name: String
    /// The soft and the hard limit; the process needs CAP_SYS_RESOURCE to raise it again.
    private let value: rlim_t

    private init(_ resource: __rlimit_resource, _ name: String, _ value: Int) {
        self.resource = __rlimit_resource_t(resource.rawValue)
        self.name = name
        self.value = rlim_t(value)
    }

    /// Limits the processes and threads of the same user.
    static func processes(_ count: Int) -> ResourceLimit { .init(__RLIMIT_NPROC, "RLIMIT_NPROC", count) }
    /// Limits the descriptors: each number must be lower than this.
    static func descriptors(_ count: Int) -> ResourceLimit { .init(RLIMIT_NOFILE, "RLIMIT_NOFILE", count) }
    /// Limits the size of a file that is written, in bytes.
    static func fileSize(_ bytes: Int) -> ResourceLimit { .init(RLIMIT_FSIZE, "RLIMIT_FSIZE", bytes) }
    /// Limits private writable memory, in bytes.
    static func memory(_ bytes: Int) -> ResourceLimit { .init(RLIMIT_DATA, "RLIMIT_DATA", bytes) }
    /// Limits all mapped memory, in bytes.
    static func addressSpace(_ bytes: Int) -> ResourceLimit { .init(RLIMIT_AS, "RLIMIT_AS", bytes) }
    /// Limits locked memory, in bytes; with mlockall(2), all mapped memory counts.
    static func lockedMemory(_ bytes: Int) -> ResourceLimit { .init(__RLIMIT_MEMLOCK, "RLIMIT_MEMLOCK", bytes) }
    /// Limits POSIX message queues of the same user, in bytes.
    static func messageQueues(_ bytes: Int) -> ResourceLimit { .init(__RLIMIT_MSGQUEUE, "RLIMIT_MSGQUEUE", bytes) }

    /// Sets the soft and the hard limit and reads them back.
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
