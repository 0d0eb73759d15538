import Glibc
import Platform

/// What a container's processes may do on the host, as `config.json` says.
struct ContainerPrivileges: Equatable, Sendable {
    /// The capabilities that a process of the container can have; nil if `config.json` sets no limit.
    let capabilities: Set<String>?
    /// Whether a user of the container is the host's root.
    let isHostRoot: Bool
    /// Whether AppArmor or SELinux keep it from other domains' processes.
    let isConfined: Bool

    /// The capabilities with which a process can leave its cgroup by itself.
    ///
    /// In their order: join another cgroup namespace; act as any process that it sees; open what is outside of a mount's
    /// root, by its handle; change the kernel.
    private static let exits = ["SYS_ADMIN", "SYS_PTRACE", "DAC_READ_SEARCH", "SYS_MODULE", "SYS_RAWIO"]

    init(capabilities: Set<String>?, isHostRoot: Bool, isConfined: Bool) {
        self.capabilities = capabilities
        self.isHostRoot = isHostRoot
        self.isConfined = isConfined
    }

    /// Takes them from the configuration; the init has the runtime's own while it is created.
    init(of config: BundleConfig, _ users: UserNamespace, _ isConfined: Bool) {
        capabilities = config.process?.capabilities?.all
        isHostRoot = users.users.extents.contains { $0.hostID == 0 && $0.size > 0 }
        self.isConfined = isConfined
    }

    /// The first capability with which the container's processes can leave its cgroup; nil if it has none.
    var exit: String? {
        guard let capabilities else { return "capabilities that process.capabilities does not limit" }
        return Self.exits.first { capabilities.contains($0) }.map { "CAP_\($0)" }
    }

    /// Whether a process of the container could use the root directory of a process of the host that it sees.
    ///
    /// `/proc/PID/root` is open to a process of the same user that has all capabilities of the other one: ptrace(2),
    /// "Ptrace access mode checking". Many processes of a host have none, also some of root's, whose files these are.
    var canBorrowFromHost: Bool { isHostRoot && !isConfined }
}

/// Whether a security module keeps a container from the processes of others.
enum LSMConfinement {
    /// Returns whether the container gets an AppArmor profile or an SELinux domain of a container's.
    ///
    /// The profiles and domains of the engines let a container look at processes of the same one only. What another
    /// profile allows is for its author to know.
    static func confines(_ config: BundleConfig, _ procfs: borrowing Procfs) throws(Failure) -> Bool {
        if let profile = config.process?.apparmorProfile, !profile.isEmpty, profile != "unconfined",
            try isAppArmorEnabled()
        {
            return true
        }
        guard let label = config.process?.selinuxLabel, let policy = try SELinuxPolicy.current(procfs),
            try policy.isEnforcing()
        else { return false }
        let type = label.split(separator: ":", omittingEmptySubsequences: false).dropFirst(2).first ?? ""
        return !type.isEmpty && type != "spc_t" && !type.hasPrefix("unconfined")
    }

    /// Returns whether the kernel applies AppArmor's profiles. /sys/module/apparmor/parameters/enabled
    private static func isAppArmorEnabled() throws(Failure) -> Bool {
        let path = "/sys/module/apparmor/parameters/enabled"
        do {
            return try Descriptor.openFile(path, .read).readAll(limit: 4096, path).first == UInt8(ascii: "Y")
        } catch let error where error.code == ENOENT {
            return false
        }
    }
}
