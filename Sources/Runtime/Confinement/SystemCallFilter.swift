import CLibSeccomp
import CLinux
import Glibc
import Platform

/// Which system calls a program may make, by their names in the kernel's tables. seccomp(2), seccomp_rule_add(3)
///
/// A call that is not listed fails with ENOSYS, as on a kernel that does not have it: a library that makes it, perhaps a
/// newer one than any that was tried, then does without. Calls that only an attacker makes are listed too, and kill the
/// whole process; so does every call of another architecture. A name that the machine's architecture does not have does
/// nothing there.
struct SystemCallFilter: Sendable {
    /// What one argument must be, by its place; the bits of `mask` are compared.
    struct Argument: Sendable {
        let index: UInt32
        let mask: UInt64
        let value: UInt64
        /// Whether the bits must be others than those of `value`.
        var differs = false

        private static func bits(_ number: CInt) -> UInt64 { UInt64(UInt32(bitPattern: number)) }

        /// The argument must be exactly this.
        static func equals(_ index: UInt32, _ value: CInt) -> Argument {
            Argument(index: index, mask: 0xffff_ffff, value: bits(value))
        }

        /// The argument, all of it, must be zero: a null pointer.
        static func isNull(_ index: UInt32) -> Argument { Argument(index: index, mask: .max, value: 0) }

        /// Of these bits exactly those of `value` must be set.
        static func has(_ index: UInt32, _ value: CInt, of bits: CInt) -> Argument {
            Argument(index: index, mask: Self.bits(bits), value: Self.bits(value))
        }

        /// All of these bits must be set.
        static func has(_ index: UInt32, _ bits: CInt) -> Argument { has(index, bits, of: bits) }

        /// None of these bits may be set.
        static func lacks(_ index: UInt32, _ bits: CInt) -> Argument { has(index, 0, of: bits) }

        /// What this one does not admit.
        static prefix func ! (other: Argument) -> Argument {
            var argument = other
            argument.differs.toggle()
            return argument
        }

        /// Whether an argument is as it must be.
        func admits(_ argument: UInt64) -> Bool { (argument & mask == value) != differs }
    }

    /// What becomes of a call.
    enum Action: Hashable, Sendable {
        case allow
        /// It fails with this error: a library makes it and can do without.
        case refuse(CInt)
        /// It is the end of the process.
        case kill

        /// What seccomp.h calls it; SCMP_ACT_ERRNO is a macro with an argument.
        var number: UInt32 {
            switch self {
            case .allow: SCMP_ACT_ALLOW
            case .refuse(let code): 0x0005_0000 | UInt32(code)
            case .kill: SCMP_ACT_KILL_PROCESS
            }
        }
    }

    /// One call, where its arguments are like this, and what becomes of it.
    struct Rule: Sendable {
        let call: String
        var arguments: [Argument] = []
        var action = Action.allow
    }

    /// What becomes of a call that no rule is for.
    static let otherwise = Action.refuse(ENOSYS)

    private(set) var rules: [Rule] = []

    /// Allows calls whatever their arguments.
    mutating func allow(_ calls: String...) {
        rules += calls.map { Rule(call: $0) }
    }

    /// Allows a call where all of these arguments are as they must be.
    mutating func allow(_ call: String, where first: Argument, _ others: Argument...) {
        rules.append(Rule(call: call, arguments: [first] + others))
    }

    /// Has a call fail with this error, where all of these arguments are like this: one that a library makes and can do
    /// without.
    mutating func refuse(_ call: String, with code: CInt, where first: Argument, _ others: Argument...) {
        rules.append(Rule(call: call, arguments: [first] + others, action: .refuse(code)))
    }

    /// Has calls end the process: those that no library makes.
    ///
    /// A call that has a rule already keeps it.
    mutating func kill(_ calls: String...) {
        let known = Set(rules.map { $0.call })
        rules += calls.filter { !known.contains($0) }.map { Rule(call: $0, action: .kill) }
    }

    /// Has a call end the process where all of these arguments are like this.
    mutating func kill(_ call: String, where first: Argument, _ others: Argument...) {
        rules.append(Rule(call: call, arguments: [first] + others, action: .kill))
    }

    /// Allows memory of the process's own: private, never executable and never a file's; no huge pages, which are the
    /// host's, and nothing that grows by itself.
    ///
    /// Other kinds of memory would not count for RLIMIT_DATA. Of those, the C library tries two and can do without: huge
    /// pages (glibc.malloc.hugetlb=2) and, from 2.41 on, memory that the kernel may drop (MAP_DROPPABLE, for
    /// getrandom(3)). The rest is an attacker's.
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
        // Pages that are shared with others by their content, which others can measure; pages that are broken on purpose.
        for advice in [MADV_MERGEABLE, MADV_HWPOISON, clinux_madv_soft_offline] {
            kill("madvise", where: .equals(2, CInt(advice)))
        }
        allow("brk", "munmap", "mremap", "mlock", "munlock")
    }

    /// Puts the filter into force, for good.
    ///
    /// Needs CAP_SYS_ADMIN or PR_SET_NO_NEW_PRIVS.
    func enforce() throws(Failure) {
        let filter = try CompiledFilter(self)
        try filter.load()
    }
}

/// The program for the kernel that libseccomp makes of a filter.
final class CompiledFilter {
    private static let what = "cannot restrict system calls"
    private let context: scmp_filter_ctx

    init(_ filter: SystemCallFilter) throws(Failure) {
        guard let context = seccomp_init(SystemCallFilter.otherwise.number) else {
            throw Failure(Self.what, because: "libseccomp cannot make a filter")
        }
        self.context = context
        // Where the kernel cannot kill the process (before 4.14) it would kill one thread, and leave the rest in disorder.
        try set(SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS)
        // A tree in place of a list: the calls of one TPM command pass a filter of hundreds of instructions each.
        try set(SCMP_FLTATR_CTL_OPTIMIZE, 2)
        for rule in filter.rules { try add(rule) }
    }

    deinit { seccomp_release(context) }

    private func set(_ attribute: scmp_filter_attr, _ value: UInt32) throws(Failure) {
        try check(seccomp_attr_set(context, attribute, value), "seccomp_attr_set")
    }

    private func add(_ rule: SystemCallFilter.Rule) throws(Failure) {
        guard let number = Self.number(of: rule.call) else {
            // One that this library is too old to know fails as if the kernel were, which is safe; but it may be needed.
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

    /// The rules that libseccomp is given for one of ours: it cannot compare some bits for difference, so that there is
    /// one for each bit that can differ.
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

    /// The number of a call on this machine, a negative one where it has none; nil if libseccomp does not know it.
    static func number(of call: String) -> CInt? {
        let number = seccomp_syscall_resolve_name(call)
        return number == __NR_SCMP_ERROR ? nil : number
    }

    func load() throws(Failure) { try check(seccomp_load(context), "seccomp_load") }

    /// Writes the program, an array of `struct sock_filter`. seccomp_export_bpf(3)
    func export(to file: borrowing Descriptor) throws(Failure) {
        try check(seccomp_export_bpf(context, file.number), "seccomp_export_bpf")
    }

    /// libseccomp returns the negative error number.
    private func check(_ result: CInt, _ call: String) throws(Failure) {
        guard result == 0 else { throw Failure(Self.what, call: call, code: -result) }
    }
}
