import CLinux
import Glibc
import Platform
import RuntimeConfinement

/// The system calls that a program may make, by their names in the kernel's tables. seccomp(2), seccomp_rule_add(3)
///
/// A call without a rule fails with ENOSYS, as on a kernel that does not have it. A library, perhaps a newer one than
/// any that was tested, then falls back. Calls that only an attacker makes kill the whole process, and so does every
/// call of another architecture. A rule for a call that this architecture does not have has no effect.
package struct SystemCallFilter: Sendable {
    /// A condition for one argument: its bits in `mask` must equal `value`, or differ from it.
    struct Argument: Sendable {
        let index: UInt32
        let mask: UInt64
        let value: UInt64
        /// Whether the condition is inverted; the mask is then all bits, since libseccomp can invert no other comparison.
        var differs = false

        private static func bits(_ number: CInt) -> UInt64 { UInt64(UInt32(bitPattern: number)) }

        /// The lower 32 bits of the argument must equal `value`.
        static func equals(_ index: UInt32, _ value: CInt) -> Argument {
            Argument(index: index, mask: 0xffff_ffff, value: bits(value))
        }

        /// All 64 bits of the argument must equal `value`, which is not negative.
        ///
        /// For what is passed as a constant: a compiler that loads one clears the upper half.
        static func isExactly(_ index: UInt32, _ value: CInt) -> Argument {
            Argument(index: index, mask: .max, value: bits(value))
        }

        /// The inverse of ``isExactly(_:_:)``.
        static func isNot(_ index: UInt32, _ value: CInt) -> Argument {
            Argument(index: index, mask: .max, value: bits(value), differs: true)
        }

        /// Of the bits in `bits`, exactly those in `value` must be set.
        static func has(_ index: UInt32, _ value: CInt, of bits: CInt) -> Argument {
            Argument(index: index, mask: Self.bits(bits), value: Self.bits(value))
        }

        /// All of these bits must be set.
        static func has(_ index: UInt32, _ bits: CInt) -> Argument { has(index, bits, of: bits) }

        /// None of these bits may be set.
        static func lacks(_ index: UInt32, _ bits: CInt) -> Argument { has(index, 0, of: bits) }

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
    /// The calls that have a rule.
    private var known: Set<String> = []

    private mutating func add(_ rule: Rule) {
        rules.append(rule)
        known.insert(rule.call)
    }

    /// Allows calls with any arguments.
    mutating func allow(_ calls: String...) {
        for call in calls { add(Rule(call: call)) }
    }

    /// Allows a call if all conditions hold.
    mutating func allow(_ call: String, where first: Argument, _ others: Argument...) {
        add(Rule(call: call, arguments: [first] + others))
    }

    /// Lets a call fail with this error if all conditions hold; for calls that a library makes but does not need.
    mutating func refuse(_ call: String, with code: CInt, where first: Argument, _ others: Argument...) {
        add(Rule(call: call, arguments: [first] + others, action: .refuse(code)))
    }

    /// Kills the process for calls that no library makes.
    ///
    /// A call that already has a rule keeps it.
    mutating func kill(_ calls: String...) {
        for call in calls where !known.contains(call) { add(Rule(call: call, action: .kill)) }
    }

    /// Kills the process for a call if all conditions hold.
    mutating func kill(_ call: String, where first: Argument, _ others: Argument...) {
        add(Rule(call: call, arguments: [first] + others, action: .kill))
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

    /// Compiles the filter for this machine, which takes a millisecond or two.
    package func compiled() throws(Failure) -> SystemCallProgram {
        try CompiledFilter(self).program()
    }
}
