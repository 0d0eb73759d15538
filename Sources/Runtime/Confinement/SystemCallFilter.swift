import CLibSeccomp
import CLinux
import Glibc
import Platform

/// The system calls that a program may make, by their names in the kernel's tables. seccomp(2), seccomp_rule_add(3)
///
/// A call without a rule fails with ENOSYS, as on a kernel that does not have it. A library, perhaps a newer one than
/// any that was tested, then falls back. Calls that only an attacker makes kill the whole process, and so does every
/// call of another architecture. A rule for a call that this architecture does not have has no effect.
struct SystemCallFilter: Sendable {
    /// A condition for one argument: its bits in `mask` must equal `value`.
    struct Argument: Sendable {
        let index: UInt32
        let mask: UInt64
        let value: UInt64
        /// Whether the condition is inverted: the bits must differ from `value`.
        var differs = false

        private static func bits(_ number: CInt) -> UInt64 { UInt64(UInt32(bitPattern: number)) }

        /// The lower 32 bits of the argument must equal `value`.
        static func equals(_ index: UInt32, _ value: CInt) -> Argument {
            Argument(index: index, mask: 0xffff_ffff, value: bits(value))
        }

        /// All 64 bits of the argument must be zero: a null pointer.
        static func isNull(_ index: UInt32) -> Argument { Argument(index: index, mask: .max, value: 0) }

        /// Of the bits in `bits`, exactly those in `value` must be set.
        static func has(_ index: UInt32, _ value: CInt, of bits: CInt) -> Argument {
            Argument(index: index, mask: Self.bits(bits), value: Self.bits(value))
        }

        /// All of these bits must be set.
        static func has(_ index: UInt32, _ bits: CInt) -> Argument { has(index, bits, of: bits) }

        /// None of these bits may be set.
        static func lacks(_ index: UInt32, _ bits: CInt) -> Argument { has(index, 0, of: bits) }

        /// Returns the inverted condition.
        static prefix func ! (other: Argument) -> Argument {
            var argument = other
            argument.differs.toggle()
            return argument
        }

        /// Returns whether an argument satisfies the condition.
        func admits(_ argument: UInt64) -> Bool { (argument & mask == value) != differs }
    }

    /// The action for a call.
    enum Action: Hashable, Sendable {
        case allow
        /// Lets the call fail with this error; for calls that a library makes but does not need.
        case refuse(CInt)
        /// Kills the whole process.
        case kill

        /// The action's number in seccomp.h; SCMP_ACT_ERRNO is a function-like macro, which the importer skips.
        var number: UInt32 {
            switch self {
            case .allow: SCMP_ACT_ALLOW
            case .refuse(let code): 0x0005_0000 | UInt32(code)
            case .kill: SCMP_ACT_KILL_PROCESS
            }
        }
    }

    /// The action for one call if all conditions for its arguments hold.
    struct Rule: Sendable {
        let call: String
        var arguments: [Argument] = []
        var action = Action.allow
    }

    /// The action for a call without a matching rule.
    static let otherwise = Action.refuse(ENOSYS)

    private(set) var rules: [Rule] = []

    /// Allows calls with any arguments.
    mutating func allow(_ calls: String...) {
        rules += calls.map { Rule(call: $0) }
    }

    /// Allows a call if all conditions hold.
    mutating func allow(_ call: String, where first: Argument, _ others: Argument...) {
        rules.append(Rule(call: call, arguments: [first] + others))
    }

    /// Lets a call fail with this error if all conditions hold; for calls that a library makes but does not need.
    mutating func refuse(_ call: String, with code: CInt, where first: Argument, _ others: Argument...) {
        rules.append(Rule(call: call, arguments: [first] + others, action: .refuse(code)))
    }

    /// Kills the process for calls that no library makes.
    ///
    /// A call that already has a rule keeps it.
    mutating func kill(_ calls: String...) {
        let known = Set(rules.map { $0.call })
        rules += calls.filter { !known.contains($0) }.map { Rule(call: $0, action: .kill) }
    }

    /// Kills the process for a call if all conditions hold.
    mutating func kill(_ call: String, where first: Argument, _ others: Argument...) {
        rules.append(Rule(call: call, arguments: [first] + others, action: .kill))
    }

    /// Allows private anonymous memory that is not executable.
    ///
    /// File mappings, huge pages from the host's pool and mappings that grow down are not allowed. Other kinds of
    /// memory would not count for RLIMIT_DATA. The C library tries two of them and can do without: huge pages
    /// (glibc.malloc.hugetlb=2) and, from 2.41 on, memory that the kernel may drop (MAP_DROPPABLE, for getrandom(3)).
    /// Only an attacker asks for the rest.
    mutating func allowMemory() {
        let shared = CInt(MAP_SHARED), anonymous = CInt(MAP_ANONYMOUS), grows = CInt(MAP_GROWSDOWN)
        let kinds = shared | CInt(MAP_PRIVATE) | clinux_map_droppable | anonymous | grows | CInt(MAP_HUGETLB)
        allow("mmap", where: .lacks(2, PROT_EXEC), .has(3, CInt(MAP_PRIVATE) | anonymous, of: kinds))
        for wrong in [.has(2, PROT_EXEC), .has(3, shared), .lacks(3, anonymous), .has(3, grows)] as [Argument] {
            kill("mmap", where: wrong)
        }
        allow("mprotect", where: .lacks(2, PROT_EXEC))
        for call in ["mprotect", "pkey_mprotect"] { kill(call, where: .has(2, PROT_EXEC)) }
        for advice in [MADV_DONTNEED, MADV_DONTDUMP] { allow("madvise", where: .equals(2, CInt(advice))) }
        // KSM merges pages with equal contents, which other processes can measure. The others take pages out of use.
        for advice in [MADV_MERGEABLE, MADV_HWPOISON, clinux_madv_soft_offline] {
            kill("madvise", where: .equals(2, CInt(advice)))
        }
        allow("brk", "munmap", "mremap", "mlock", "munlock")
    }

    /// Compiles the filter and installs it permanently; needs CAP_SYS_ADMIN or PR_SET_NO_NEW_PRIVS. seccomp_load(3)
    func enforce() throws(Failure) {
        let filter = try CompiledFilter(self)
        try filter.load()
    }
}

/// The BPF program for the kernel that libseccomp makes from a filter.
final class CompiledFilter {
    private static let what = "cannot restrict system calls"
    private let context: scmp_filter_ctx

    /// Compiles a filter for this machine, or for another architecture of libseccomp's, `SCMP_ARCH_*`.
    init(_ filter: SystemCallFilter, for architecture: UInt32? = nil) throws(Failure) {
        guard let context = seccomp_init(SystemCallFilter.otherwise.number) else {
            throw Failure(Self.what, because: "libseccomp cannot make a filter")
        }
        self.context = context
        if let architecture {
            try check(seccomp_arch_add(context, architecture), "seccomp_arch_add")
            try check(seccomp_arch_remove(context, seccomp_arch_native()), "seccomp_arch_remove")
        }
        // The default kills only the calling thread and leaves the others in disorder. SCMP_ACT_KILL_PROCESS needs
        // Linux 4.14.
        try set(SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS)
        // A binary tree instead of a list: as a list, each call of a TPM command would run hundreds of instructions.
        try set(SCMP_FLTATR_CTL_OPTIMIZE, 2)
        for rule in filter.rules { try add(rule) }
    }

    deinit { seccomp_release(context) }

    private func set(_ attribute: scmp_filter_attr, _ value: UInt32) throws(Failure) {
        try check(seccomp_attr_set(context, attribute, value), "seccomp_attr_set")
    }

    private func add(_ rule: SystemCallFilter.Rule) throws(Failure) {
        guard let number = Self.number(of: rule.call) else {
            // A call that libseccomp does not know fails with ENOSYS, which is safe unless the call is to be allowed.
            guard rule.action == .allow else { return }
            throw Failure(Self.what, because: "libseccomp knows no system call \(rule.call)")
        }
        for comparisons in comparisons(rule.arguments) {
            try check(
                seccomp_rule_add_array(context, rule.action.number, number, UInt32(comparisons.count), comparisons),
                "seccomp_rule_add \(rule.call)"
            )
        }
    }

    /// Returns the alternatives for libseccomp that together match the conditions of one rule.
    ///
    /// libseccomp cannot test whether masked bits differ from a value. Such a condition becomes one alternative for
    /// each bit that can differ.
    private func comparisons(_ arguments: [SystemCallFilter.Argument]) -> [[scmp_arg_cmp]] {
        arguments.reduce([[]]) { alternatives, argument in
            let value = argument.value
            let own: [scmp_arg_cmp] =
                switch (argument.differs, argument.mask) {
                case (false, let mask):
                    [scmp_arg_cmp(arg: argument.index, op: SCMP_CMP_MASKED_EQ, datum_a: mask, datum_b: value)]
                case (true, .max):
                    [scmp_arg_cmp(arg: argument.index, op: SCMP_CMP_NE, datum_a: value, datum_b: 0)]
                case (true, let mask):
                    (0..<64).map { UInt64(1) << $0 }.filter { mask & $0 != 0 }.map { bit in
                        let other = ~value & bit
                        return scmp_arg_cmp(arg: argument.index, op: SCMP_CMP_MASKED_EQ, datum_a: bit, datum_b: other)
                    }
                }
            return alternatives.flatMap { alternative in own.map { alternative + [$0] } }
        }
    }

    /// Returns the number of a call; negative if this architecture does not have it, nil if libseccomp does not know
    /// it.
    static func number(of call: String) -> CInt? {
        let number = seccomp_syscall_resolve_name(call)
        return number == __NR_SCMP_ERROR ? nil : number
    }

    func load() throws(Failure) { try check(seccomp_load(context), "seccomp_load") }

    /// Writes the program to a file, as an array of `struct sock_filter`. seccomp_export_bpf(3)
    func export(to file: borrowing Descriptor) throws(Failure) {
        try check(seccomp_export_bpf(context, file.number), "seccomp_export_bpf")
    }

    /// Throws if `result` is not 0; libseccomp returns the negative error number.
    private func check(_ result: CInt, _ call: String) throws(Failure) {
        guard result == 0 else { throw Failure(Self.what, call: call, code: -result) }
    }
}
