import CLibSeccomp
import Glibc
import Platform

/// An allow-list of system calls, by their names in the kernel's tables. seccomp(2), seccomp_rule_add(3)
///
/// Every other call kills the whole process, and so does one of another architecture's. A name that the machine's
/// architecture does not have allows nothing there.
struct SystemCallFilter: Sendable {
    /// What one argument must be, by its place; all bits of `mask` are compared.
    struct Argument: Sendable {
        let index: UInt32
        let mask: UInt64
        let value: UInt64

        /// The argument must be exactly this.
        static func equals(_ index: UInt32, _ value: CInt) -> Argument {
            Argument(index: index, mask: 0xffff_ffff, value: UInt64(UInt32(bitPattern: value)))
        }

        /// Of these bits exactly those of `value` must be set.
        static func has(_ index: UInt32, _ value: CInt, of bits: CInt) -> Argument {
            Argument(index: index, mask: UInt64(UInt32(bitPattern: bits)), value: UInt64(UInt32(bitPattern: value)))
        }

        /// None of these bits may be set.
        static func lacks(_ index: UInt32, _ bits: CInt) -> Argument {
            Argument(index: index, mask: UInt64(UInt32(bitPattern: bits)), value: 0)
        }
    }

    /// One call, where its arguments are like this, and what becomes of it.
    struct Rule: Sendable {
        let call: String
        var arguments: [Argument] = []
        var action = SCMP_ACT_ALLOW
    }

    private(set) var rules: [Rule] = []

    /// Allows calls whatever their arguments.
    mutating func allow(_ calls: String...) {
        rules += calls.map { Rule(call: $0) }
    }

    /// Allows a call where all of these arguments are as they must be.
    mutating func allow(_ call: String, where first: Argument, _ others: Argument...) {
        rules.append(Rule(call: call, arguments: [first] + others))
    }

    /// Has a call fail with EACCES, where all of these arguments are like this: one that a library makes and can do
    /// without.
    mutating func refuse(_ call: String, where first: Argument, _ others: Argument...) {
        // SCMP_ACT_ERRNO is a macro with an argument (seccomp.h).
        rules.append(Rule(call: call, arguments: [first] + others, action: 0x0005_0000 | UInt32(EACCES)))
    }

    /// Allows memory of the process's own: private, never executable and never a file's; no huge pages, which are the
    /// host's, and nothing that grows by itself.
    ///
    /// Other kinds of memory would not count for RLIMIT_DATA.
    mutating func allowMemory() {
        let kinds = CInt(MAP_SHARED | MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN | MAP_HUGETLB)
        allow("mmap", where: .lacks(2, PROT_EXEC), .has(3, MAP_PRIVATE | MAP_ANONYMOUS, of: kinds))
        allow("mprotect", where: .lacks(2, PROT_EXEC))
        for advice in [MADV_DONTNEED, MADV_DONTDUMP] { allow("madvise", where: .equals(2, CInt(advice))) }
        allow("brk", "munmap", "mremap", "mlock", "munlock")
    }

    /// Puts the filter into force, for good.
    ///
    /// Needs CAP_SYS_ADMIN or PR_SET_NO_NEW_PRIVS.
    func enforce() throws(Failure) {
        let what = "cannot restrict system calls"
        // Where the kernel cannot kill the process (before 4.14) it would kill one thread, and leave the rest in disorder.
        guard let filter = seccomp_init(SCMP_ACT_KILL_PROCESS) else {
            throw Failure(what, because: "libseccomp cannot make a filter")
        }
        defer { seccomp_release(filter) }
        try check(seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS), "seccomp_attr_set", what)
        // A tree in place of a list: the calls of one TPM command pass a filter of a hundred instructions each.
        try check(seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2), "seccomp_attr_set", what)
        for rule in rules {
            let number = seccomp_syscall_resolve_name(rule.call)
            guard number != __NR_SCMP_ERROR else {
                throw Failure(what, because: "libseccomp knows no system call \(rule.call)")
            }
            let arguments = rule.arguments.map {
                scmp_arg_cmp(arg: $0.index, op: SCMP_CMP_MASKED_EQ, datum_a: $0.mask, datum_b: $0.value)
            }
            try check(
                seccomp_rule_add_array(filter, rule.action, number, UInt32(arguments.count), arguments),
                "seccomp_rule_add \(rule.call)",
                what
            )
        }
        try check(seccomp_load(filter), "seccomp_load", what)
    }

    /// libseccomp returns the negative error number.
    private func check(_ result: CInt, _ call: String, _ what: String) throws(Failure) {
        guard result == 0 else { throw Failure(what, call: call, code: -result) }
    }
}
