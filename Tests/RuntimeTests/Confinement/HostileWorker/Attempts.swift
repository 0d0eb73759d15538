import CLinux
import CSystemCall
import Glibc

/// What a library may try that is newer than any that was tried, or another: it is refused, and no harm done.
struct Attempt {
    let name: String
    /// Returns the `errno`, or 0.
    let run: @Sendable () -> CInt

    init(_ name: String, _ run: @escaping @Sendable () -> CInt) {
        self.name = name
        self.run = run
    }

    /// A system call, by its number: the C library's headers may not have its name yet.
    init(_ name: String, call number: CInt, _ arguments: Int...) {
        let padded = arguments + [0, 0, 0, 0, 0, 0]
        self.init(name) {
            let result = csystemcall(Int(number), padded[0], padded[1], padded[2], padded[3], padded[4], padded[5])
            return result < 0 ? errno : 0
        }
    }

    /// A system call on a path.
    init(_ name: String, call number: CInt, at path: String, _ arguments: Int...) {
        let padded = arguments + [0, 0, 0, 0]
        self.init(name) {
            path.withCString {
                let address = Int(bitPattern: $0)
                let result = csystemcall(
                    Int(number),
                    Int(AT_FDCWD),
                    address,
                    padded[0],
                    padded[1],
                    padded[2],
                    padded[3]
                )
                return result < 0 ? errno : 0
            }
        }
    }

    static let all: [Attempt] = [
        // glibc.malloc.hugetlb=1, the default of AArch64 from 2.43 on; the guards of stacks from 2.42 on.
        Attempt("madvise MADV_HUGEPAGE", call: SYS_madvise, 0, 4096, 14),
        Attempt("madvise MADV_GUARD_INSTALL", call: SYS_madvise, 0, 4096, 102),
        // glibc.malloc.hugetlb=2; getrandom(3) in the vDSO, from 2.41 on.
        Attempt("mmap MAP_HUGETLB", call: SYS_mmap, 0, 4096, 3, 0x4_0022, -1, 0),
        Attempt("mmap MAP_DROPPABLE", call: SYS_mmap, 0, 4096, 3, 0x28, -1, 0),
        // isatty(3) until 2.41, and from 2.42 on.
        Attempt("ioctl TCGETS", call: SYS_ioctl, 1, 0x5401),
        Attempt("ioctl TCGETS2", call: SYS_ioctl, 1, 0x802c_542a),
        Attempt("ioctl TIOCGWINSZ", call: SYS_ioctl, 1, 0x5413),
        // What libraries look for: /etc/localtime, /proc/sys/vm/overcommit_memory, /sys/devices/system/cpu.
        Attempt("openat", call: SYS_openat, at: "/etc/localtime", Int(O_RDONLY | O_CLOEXEC)),
        Attempt("openat2", call: SYS_openat2, at: "/proc/sys/crypto/fips_enabled", 0, 24),
        Attempt("newfstatat", call: SYS_newfstatat, at: "/etc/localtime", 0, 0),
        Attempt("statx", call: SYS_statx, at: "/etc/localtime", 0, 0, 0),
        Attempt("faccessat", call: SYS_faccessat, at: "/etc/ld.so.preload", 4),
        Attempt("faccessat2", call: SYS_faccessat2, at: "/etc/ld.so.preload", 4, 0),
        Attempt("readlinkat", call: SYS_readlinkat, at: "/proc/self/exe", 0, 0),
        // What is asked about the machine and the process.
        Attempt("uname", call: SYS_uname),
        Attempt("sysinfo", call: SYS_sysinfo),
        Attempt("getcpu", call: SYS_getcpu),
        Attempt("sched_getaffinity", call: SYS_sched_getaffinity),
        Attempt("sched_yield", call: SYS_sched_yield),
        Attempt("prlimit64", call: SYS_prlimit64, 0, 7, 0, 0),
        Attempt("gettid", call: SYS_gettid),
        Attempt("getuid", call: SYS_getuid),
        Attempt("capget", call: SYS_capget),
        Attempt("clock_getres", call: SYS_clock_getres),
        Attempt("clock_nanosleep", call: SYS_clock_nanosleep),
        Attempt("rt_sigaction", call: SYS_rt_sigaction),
        Attempt("rt_sigprocmask", call: SYS_rt_sigprocmask),
        Attempt("sigaltstack", call: SYS_sigaltstack),
        // What is set up for threads and for a process's memory.
        Attempt("rseq", call: SYS_rseq),
        Attempt("set_robust_list", call: SYS_set_robust_list),
        Attempt("membarrier", call: SYS_membarrier),
        Attempt("prctl PR_SET_VMA", call: SYS_prctl, 0x5356_4d41),
        Attempt("mincore", call: SYS_mincore),
        Attempt("close_range", call: SYS_close_range, 100, 200),
        // The same on all machines since Linux 5.1: cachestat, map_shadow_stack, futex_wake, futex_wait, mseal.
        Attempt("cachestat", call: 451),
        Attempt("map_shadow_stack", call: 453),
        Attempt("futex_wake", call: 454),
        Attempt("futex_wait", call: 455),
        Attempt("mseal", call: 462),
        Attempt("a call that no kernel has yet", call: 1000),
        // What is done all the same: the largest piece that the heap does not hold, which is mapped and given back.
        Attempt("malloc of 4 MiB") {
            guard let block = malloc(4 << 20) else { return errno }
            memset(block, 1, 4 << 20)
            free(block)
            return 0
        },
        Attempt("dprintf") { csystemprint(1, "a line\n") < 0 ? errno : 0 },
    ]
}
