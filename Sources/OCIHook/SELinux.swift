import CLinux
import Glibc
import Platform

/// The SELinux policy of the running kernel, limited to character devices. selinuxfs, security/selinux/selinuxfs.c
package struct SELinuxPolicy: Sendable {
    /// The mount point of selinuxfs.
    let path: String
    /// Writes a request to the file `access`, and returns the response.
    let ask: @Sendable (String) throws(Failure) -> [UInt8]

    /// The file system's magic number. linux/magic.h, SELINUX_MAGIC
    private static let magic = 0xf97c_ff8c

    /// Returns the policy in force; nil if SELinux is off or no policy has been loaded.
    ///
    /// Until a policy is loaded, each process has the label `kernel`. selinux(8), is_selinux_enabled(3)
    package static func current(
        _ procfs: borrowing Procfs,
        at path: String = "/sys/fs/selinux"
    ) throws(Failure) -> SELinuxPolicy? {
        let directory: Descriptor
        do {
            directory = try .open(path, OpenOptions(openPathOnly | O_DIRECTORY))
        } catch let error where error.code == ENOENT {
            return nil
        }
        guard try directory.fileSystemMagic(path) == magic else { return nil }
        let own = try procfs.read("self/attr/current", limit: 4096).prefix { $0 != 0 && $0 != UInt8(ascii: "\n") }
        guard !own.isEmpty, !own.elementsEqual("kernel".utf8) else { return nil }
        return SELinuxPolicy(path: path) { (question) throws(Failure) in
            let name = "\(path)/access"
            let file = try Descriptor.open(name, OpenOptions(O_RDWR))
            // One write is one request, and its response can be read from the same open file only.
            try file.writeAll(Array(question.utf8), name)
            let number = file.number
            var answer = [UInt8](repeating: 0, count: 4096)
            let count = try systemCall("pread", "cannot read \(name)") { pread(number, &answer, answer.count, 0) }
            return Array(answer[..<count])
        }
    }

    /// Returns whether the kernel enforces the policy or only logs violations. `enforce`
    package func isEnforcing() throws(Failure) -> Bool {
        try read("enforce") != "0"
    }

    /// Returns those of the permissions that the policy does not grant to a process for a character device, by their
    /// labels.
    ///
    /// The result is empty if the process's domain is permissive, since the kernel then allows every access.
    package func lacking(_ permissions: [String], process: String, device: String) throws(Failure) -> [String] {
        let what = "cannot ask what SELinux lets \(process.excerpt) do"
        for label in [process, device] where label.isEmpty || label.utf8.contains(where: { $0 <= 0x20 || $0 == 0x7f }) {
            throw Failure(what, because: "\"\(label.excerpt)\" is no label")
        }
        guard let kind = UInt16(try read("class/chr_file/index")) else {
            throw Failure(what, because: "\(path)/class/chr_file/index holds no number")
        }
        let answer: [UInt8]
        do {
            answer = try ask("\(process) \(device) \(kind)")
        } catch let error where error.code == EINVAL {
            throw Failure(
                what,
                because: "the policy does not know it, or the device's label \(device.excerpt)",
                code: EINVAL
            )
        }
        guard let vector = AccessVector(parsing: answer) else {
            throw Failure(what, because: "\(path)/access gave an answer that makes no sense")
        }
        var lacking: [String] = []
        for permission in permissions where !vector.isPermissive {
            guard let bit = UInt32(try read("class/chr_file/perms/\(permission)")), (1...32).contains(bit) else {
                throw Failure(what, because: "\(path)/class/chr_file/perms/\(permission) holds no number")
            }
            if vector.allowed & 1 << (bit - 1) == 0 { lacking.append(permission) }
        }
        return lacking
    }

    private func read(_ name: String) throws(Failure) -> String {
        let file = try Descriptor.open("\(path)/\(name)", .read)
        let text = String(decoding: try file.readAll(limit: 4096, "\(path)/\(name)"), as: UTF8.self)
        return String(text.prefix { $0 != "\n" && $0 != "\0" })
    }
}

/// The kernel's response about an access. `sel_write_access`
struct AccessVector: Equatable, Sendable {
    /// The allowed permissions as a bit mask; permission number 1 is the lowest bit.
    let allowed: UInt32
    /// Whether the process's domain is permissive, so that violations are only logged.
    let isPermissive: Bool

    /// Parses `allowed decided auditallow auditdeny seqno flags`; returns nil if it is malformed.
    ///
    /// The fifth field is decimal, and the others are hexadecimal.
    init?(parsing answer: [UInt8]) {
        let fields = String(decoding: answer.prefix { $0 != 0 }, as: UTF8.self).split { $0 == " " || $0 == "\n" }
        guard fields.count >= 6, let allowed = UInt32(fields[0], radix: 16), let flags = UInt32(fields[5], radix: 16)
        else { return nil }
        self.allowed = allowed
        // SELINUX_AVD_FLAGS_PERMISSIVE
        self.isPermissive = flags & 1 != 0
    }
}

/// The check whether SELinux will let a container open its nodes.
///
/// The hook runs in another domain than the container, and its tmpfs has another label than the container's `/dev`. So
/// neither the hook's own access nor the default label of its nodes says anything about the container.
package struct SELinuxAccess: Sendable {
    /// The label of the container's process; nil if only the policy decides about it.
    let process: String?
    /// The label of all that the runtime mounts for the container, and of the nodes; nil to leave the policy's.
    let nodeLabel: String?
    private let policy: SELinuxPolicy

    /// The permissions that a process needs to use a TPM.
    package static let permissions = ["getattr", "open", "read", "write"]

    /// Takes the labels from the configuration; returns nil if there is no policy or the configuration has no labels.
    init?(of config: BundleConfig, _ policy: SELinuxPolicy?) {
        func label(_ text: String?) -> String? { text.flatMap { $0.isEmpty ? nil : $0 } }
        let (process, nodes) = (label(config.process?.selinuxLabel), label(config.linux?.mountLabel))
        guard let policy, process != nil || nodes != nil else { return nil }
        self.policy = policy
        self.process = process
        self.nodeLabel = nodes
    }

    /// Refuses a container that could not use nodes with ``nodeLabel``, before anything is made for it.
    func examine() throws(Failure) {
        if let nodeLabel { try require(nodeLabel) }
    }

    /// Refuses nodes that the container could not use with the labels that they really have.
    func check(_ nodes: [CInt]) throws(Failure) {
        for node in nodes {
            let what = "cannot read the label of a device node"
            var label = [CChar](repeating: 0, count: 4096)
            // fgetxattr(2) fails with EBADF on a descriptor that was opened with O_PATH.
            let count = try systemCall("getxattr", what) {
                getxattr("/proc/self/fd/\(node)", "security.selinux", &label, label.count)
            }
            try require(
                String(
                    decoding: label[..<count].map { UInt8(truncatingIfNeeded: $0) }.prefix { $0 != 0 },
                    as: UTF8.self
                )
            )
        }
    }

    /// Throws if the policy does not let the container's process use a device with this label.
    ///
    /// If SELinux is not enforcing, the reason is logged instead.
    func require(_ label: String) throws(Failure) {
        guard let process else { return }
        let lacking: [String]
        do {
            lacking = try policy.lacking(Self.permissions, process: process, device: label)
        } catch {
            if try policy.isEnforcing() { throw error }
            return Log.notice("\(error)")
        }
        guard !lacking.isEmpty else { return }
        let refusal = Failure(
            "cannot give the container its TPM",
            because: "SELinux does not let \(process.excerpt) use a device labelled \(label.excerpt)",
            hint: nodeLabel == nil
                ? "config.json needs linux.mountLabel, a label whose devices the container may use"
                : "the policy needs: allow \(Self.type(of: process)) \(Self.type(of: label)):chr_file { "
                    + "\(lacking.joined(separator: " ")) };"
        )
        if try policy.isEnforcing() { throw refusal }
        Log.notice("SELinux is permissive, and would refuse: \(refusal)")
    }

    /// Returns the type in a label. `user:role:type:level`
    private static func type(of label: String) -> String {
        let parts = label.split(separator: ":", omittingEmptySubsequences: false)
        return (parts.count > 2 ? String(parts[2]) : label).excerpt
    }
}
