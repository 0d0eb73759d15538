import CLibSeccomp
import CLinux
import Glibc
import Platform
import RuntimeConfinement

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
        // A list in the order of priorities: libseccomp takes twice as long to make a tree.
        try set(SCMP_FLTATR_CTL_OPTIMIZE, 1)
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
        let comparisons = rule.arguments.map { argument in
            argument.differs
                ? scmp_arg_cmp(arg: argument.index, op: SCMP_CMP_NE, datum_a: argument.value, datum_b: 0)
                : scmp_arg_cmp(
                    arg: argument.index,
                    op: SCMP_CMP_MASKED_EQ,
                    datum_a: argument.mask,
                    datum_b: argument.value
                )
        }
        try check(
            seccomp_rule_add_array(context, rule.action.number, number, UInt32(comparisons.count), comparisons),
            "seccomp_rule_add \(rule.call)"
        )
        // First in the list: from 5.11 on the kernel does not even run the program for these (seccomp_cache_check_allow). A
        // call that this architecture does not have has no place in it.
        if rule.action == .allow, rule.arguments.isEmpty, number >= 0 {
            try check(seccomp_syscall_priority(context, number, 255), "seccomp_syscall_priority \(rule.call)")
        }
    }

    /// Returns the number of a call; negative if this architecture does not have it, nil if libseccomp does not know
    /// it.
    static func number(of call: String) -> CInt? {
        let number = seccomp_syscall_resolve_name(call)
        return number == __NR_SCMP_ERROR ? nil : number
    }

    /// Makes a file in memory.
    ///
    /// Linux 6.3 and newer refuse one that could be executed where `vm.memfd_noexec` is 2. Older kernels do not know the flag.
    private static func makeFile() throws(Failure) -> Descriptor {
        func make(_ flags: UInt32) throws(Failure) -> Descriptor {
            Descriptor(owning: try systemCall("memfd_create", what) { memfd_create("filter", flags) })
        }
        do throws(Failure) {
            return try make(clinux_mfd_cloexec | clinux_mfd_noexec_seal)
        } catch let error where error.code == EINVAL {
            return try make(clinux_mfd_cloexec)
        }
    }

    /// Returns the program. seccomp_export_bpf(3)
    func program() throws(Failure) -> SystemCallProgram {
        let file = try Self.makeFile()
        try check(seccomp_export_bpf(context, file.number), "seccomp_export_bpf")
        let size = Int(try file.status("a system call filter").st_size)
        let bytes = try file.readAll(count: size, at: 0, "a system call filter")
        guard let program = SystemCallProgram(bytes) else {
            throw Failure(Self.what, because: "libseccomp made a filter of \(bytes.count) bytes")
        }
        return program
    }

    /// Throws if `result` is not 0; libseccomp returns the negative error number.
    private func check(_ result: CInt, _ call: String) throws(Failure) {
        guard result == 0 else { throw Failure(Self.what, call: call, code: -result) }
    }
}

extension SystemCallFilter.Action {
    /// The action's number in seccomp.h; SCMP_ACT_ERRNO is a function-like macro, which the importer skips.
    var number: UInt32 {
        switch self {
        case .allow: SCMP_ACT_ALLOW
        case .refuse(let code): 0x0005_0000 | UInt32(code)
        case .kill: SCMP_ACT_KILL_PROCESS
        }
    }
}
