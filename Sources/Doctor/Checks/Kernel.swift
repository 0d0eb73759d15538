import CLinux
import Engines
import Glibc
import Platform
import VTPMProxy

/// What the running kernel offers.
enum KernelChecks {
    /// The module that makes ``vtpmxPath``.
    static let module = "tpm_vtpm_proxy"

    /// The oldest kernel on which the programs work.
    private static let oldest = VersionNumber(5, 9)

    /// Linux, its version.
    static func version(_ host: Host) throws(Failure) -> Finding {
        let release = try release(host)
        guard let version = VersionNumber(in: release) else { return .unknown("\"\(release)\" is no version") }
        guard version >= oldest else {
            return .refusal("Linux \(release), and the programs need \(oldest)", remedy: "install a newer kernel")
        }
        return .ok("Linux \(release)")
    }

    static func release(_ host: Host) throws(Failure) -> String {
        guard let release = try host.line("/proc/sys/kernel/osrelease"), !release.isEmpty else {
            throw Failure("cannot find the kernel's release", because: "/proc/sys/kernel/osrelease is missing")
        }
        return release
    }

    /// The parts of the kernel that supervisor, worker and hook need, as far as they can be seen without using them.
    static func features(_ host: Host) throws(Failure) -> Finding {
        var missing: [String] = []
        for namespace in ["mnt", "pid", "net", "ipc", "uts"] where !host.exists("/proc/self/ns/\(namespace)") {
            missing.append("namespaces of the kind \(namespace)")
        }
        let actions = try host.line("/proc/sys/kernel/seccomp/actions_avail") ?? ""
        if !actions.split(separator: " ").contains("kill_process") { missing.append("system call filters") }
        let release = try release(host)
        for path in ["/boot/config-\(release)", "/lib/modules/\(release)/config"] {
            guard let options = try host.text(path) else { continue }
            for option in ["CONFIG_BPF_SYSCALL", "CONFIG_CGROUP_BPF", "CONFIG_SECCOMP_FILTER"]
            where !options.contains("\(option)=y") {
                missing.append(option)
            }
            break
        }
        guard missing.isEmpty else {
            return .refusal(
                "the kernel lacks \(missing.joined(separator: ", "))",
                remedy: "use a kernel that was built with them"
            )
        }
        return .ok("namespaces, system call filters and BPF")
    }

    /// `/dev/vtpmx`, or the module that makes it.
    static func proxy(_ host: Host) throws(Failure) -> Finding {
        if host.exists(vtpmxPath) { return .ok("\(vtpmxPath) is there") }
        if host.exists("/sys/class/misc/vtpmx") {
            return .refusal(
                "the kernel has the driver, and there is no \(vtpmxPath)",
                remedy: "udevadm trigger --name-match=vtpmx, or mount devtmpfs on /dev"
            )
        }
        let release = try release(host)
        let modules = "/lib/modules/\(release)"
        guard host.exists(modules) else {
            return .refusal(
                "\(vtpmxPath) is missing, and \(modules) too: the kernel was upgraded or its modules are not installed",
                remedy: "boot the kernel that is installed"
            )
        }
        let known = try host.text("\(modules)/modules.dep") ?? ""
        guard known.contains("/\(module).ko") else {
            return .refusal(
                "\(vtpmxPath) is missing, and this kernel has no module \(module)",
                remedy: "install a kernel, or its package of further modules, with CONFIG_TCG_VTPM_PROXY; then depmod"
            )
        }
        if try host.line("/proc/sys/kernel/modules_disabled") == "1" {
            return .refusal(
                "\(module) is not loaded, and kernel.modules_disabled is 1",
                remedy: "echo \(module) >/etc/modules-load.d/container-vtpm.conf, and reboot"
            )
        }
        if let file = try barrier(host) {
            return .refusal(
                "\(file) has modprobe do something else than to load \(module)",
                remedy: "take the line \"install \(module)\" out of \(file)"
            )
        }
        guard host.exists("/sbin/modprobe") else {
            return .refusal("\(module) is not loaded, and there is no /sbin/modprobe", remedy: "install kmod")
        }
        return .ok("\(module) is not loaded; the hook loads it for the first container")
    }

    /// Returns the file of modprobe's configuration in which a command takes the place of loading the module.
    private static func barrier(_ host: Host) throws(Failure) -> String? {
        let directories = ["/etc", "/run", "/usr/local/lib", "/usr/lib", "/lib"].map { "\($0)/modprobe.d" }
        for file in try host.files(in: directories, ending: ".conf") {
            for line in try host.text(file)?.split(separator: "\n") ?? [] {
                let words = line.split { $0 == " " || $0 == "\t" }
                guard words.count > 2, words[0] == "install" else { continue }
                // modprobe takes a dash for an underscore.
                if String(words[1].map { $0 == "-" ? "_" : $0 }) == module { return file }
            }
        }
        return nil
    }

    /// Whether the module is loaded at boot.
    static func proxyAtBoot(_ host: Host) throws(Failure) -> Finding {
        let builtIn = try host.text("/lib/modules/\(release(host))/modules.builtin") ?? ""
        if builtIn.contains("/\(module).ko") { return .ok("it is a part of the kernel") }
        let directories = ["/etc", "/run", "/usr/local/lib", "/usr/lib"].map { "\($0)/modules-load.d" }
        for file in try host.files(in: directories, ending: ".conf") + ["/etc/modules"] {
            let lines = try host.text(file)?.split(separator: "\n") ?? []
            if lines.contains(where: { $0.trimmed == module }) { return .ok("\(file) names it") }
        }
        return .note(
            "nothing loads \(module) at boot: the first container does, unless modules are locked by then",
            remedy: "echo \(module) >/etc/modules-load.d/container-vtpm.conf"
        )
    }

    private static let makeNode = "rm \(vtpmxPath) && udevadm trigger --name-match=vtpmx"

    /// Whether only root can use `/dev/vtpmx`.
    static func proxyNode(_ host: Host) throws(Failure) -> Finding {
        guard let status = try host.status(vtpmxPath) else { return .ok("\(vtpmxPath) is not there yet") }
        guard let device = try host.device(host.root + vtpmxPath) else {
            return .refusal("\(vtpmxPath) is no device", remedy: makeNode)
        }
        if let expected = try host.line("/sys/class/misc/vtpmx/dev"), "\(device)" != expected {
            return .refusal(
                "\(vtpmxPath) is the device \(device), and the driver's is \(expected)",
                remedy: makeNode
            )
        }
        let mode = String(status.st_mode & 0o777, radix: 8)
        guard status.st_uid == host.owner, status.st_mode & 0o077 == 0 else {
            return .problem(
                "\(vtpmxPath) belongs to user \(status.st_uid) and has the mode 0\(mode): others can keep hooks waiting",
                remedy: "chown root:root \(vtpmxPath) && chmod 0600 \(vtpmxPath)"
            )
        }
        return .ok("\(vtpmxPath) is \(device), root's alone")
    }
}
