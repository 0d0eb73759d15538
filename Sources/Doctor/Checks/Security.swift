import OCIHook
import Platform
import RuntimeControl

/// The kernel's security modules.
enum SecurityChecks {
    /// The modules that are in force.
    static func modules(_ host: Host) throws(Failure) -> Finding {
        guard let modules = try host.line("/sys/kernel/security/lsm") else {
            return .unknown(
                "/sys/kernel/security/lsm is missing",
                remedy: "mount -t securityfs securityfs /sys/kernel/security"
            )
        }
        guard modules.split(separator: ",").contains("landlock") else {
            return .note(
                "\(modules): without Landlock, supervisors are not kept from the host's other files",
                remedy: "add landlock to the lsm= parameter of the kernel"
            )
        }
        return .ok(modules)
    }

    /// Our AppArmor profiles, where the kernel runs AppArmor.
    static func appArmor(_ host: Host) throws(Failure) -> Finding {
        guard try host.line("/sys/module/apparmor/parameters/enabled") == "Y" else {
            return .ok("the kernel runs without AppArmor")
        }
        guard let loaded = try host.text("/sys/kernel/security/apparmor/profiles") else {
            return .unknown(
                "the kernel's list of profiles is missing",
                remedy: "mount -t securityfs securityfs /sys/kernel/security"
            )
        }
        let names = try programs(host)
        let files = names.filter { host.exists("/etc/apparmor.d/\($0)") }
        let disabled = names.filter { host.exists("/etc/apparmor.d/disable/\($0)") }
        let missing = names.filter { name in !files.contains(name) }
        guard missing.isEmpty else {
            return .problem(
                "there is no profile in /etc/apparmor.d for \(missing.joined(separator: ", "))",
                remedy: "make install, in the source tree; or the package's own way"
            )
        }
        let modes = loaded.split(separator: "\n")
        func isLoaded(_ name: String, _ mode: String) -> Bool { modes.contains { $0 == "\(name) (\(mode))" } }
        let lax = names.filter { !isLoaded($0, "enforce") }
        let load =
            "apparmor_parser --replace --skip-read-cache --write-cache "
            + lax.map { "/etc/apparmor.d/\($0)" }.joined(separator: " ")
        guard lax.isEmpty else {
            let off = lax.filter { disabled.contains($0) }
            guard off.isEmpty else {
                return .note(
                    "switched off by a link in /etc/apparmor.d/disable: \(off.joined(separator: ", "))",
                    remedy: "rm " + off.map { "/etc/apparmor.d/disable/\($0)" }.joined(separator: " ") + " && \(load)"
                )
            }
            let only = lax.filter { isLoaded($0, "complain") }
            let how = only == lax ? "only complain" : "are not loaded"
            return .problem("these profiles \(how): \(lax.joined(separator: ", "))", remedy: load)
        }
        return try place(host) ?? .ok("in force for \(names.joined(separator: ", "))")
    }

    /// Our programs that are installed, each with a profile of its name.
    ///
    /// `vtpm-run` and `vtpm-runtime` have none: entering one would take from them what they inherit for the program that they
    /// become.
    private static func programs(_ host: Host) throws(Failure) -> [String] {
        try host.names(host.withoutRoot(host.paths.programs)).filter {
            $0.hasPrefix("vtpm") && !["vtpm-run", "vtpm-runtime"].contains($0)
        }
    }

    /// Returns a finding if the profiles are for programs in another folder than these.
    private static func place(_ host: Host) throws(Failure) -> Finding? {
        let path = "/etc/apparmor.d/tunables/container-vtpm"
        let programs = host.withoutRoot(host.paths.programs)
        let settings = EngineSettings(try host.text(path) ?? "")
        guard let folder = settings.value(of: "@{vtpm_programs}"), folder != programs else { return nil }
        return .problem(
            "the profiles are for programs in \(folder), and these are in \(programs)",
            remedy: "set @{vtpm_programs} in \(path), and load the profiles again"
        )
    }

    /// What the SELinux policy lets a container do with a TPM, where the kernel has a policy.
    static func selinux(_ host: Host) throws(Failure) -> Finding {
        guard let policy = try host.selinux() else { return .ok("the kernel runs without an SELinux policy") }
        let (process, device) = ("system_u:system_r:container_t:s0", "system_u:object_r:container_file_t:s0")
        let isEnforcing = try policy.isEnforcing()
        let lacking: [String]
        do {
            lacking = try policy.lacking(SELinuxAccess.permissions, process: process, device: device)
        } catch {
            return .unknown(
                "\(error.why): containers' labels are not those of the usual policy",
                remedy: "install the policy's container module (container-selinux); each creation asks for itself"
            )
        }
        let mode = isEnforcing ? "enforcing" : "permissive"
        guard !lacking.isEmpty else { return .ok("\(mode), and container_t may use its TPM") }
        let found = "\(mode), and container_t may not use devices labelled container_file_t"
        let rule = "allow container_t container_file_t:chr_file { \(lacking.joined(separator: " ")) };"
        return isEnforcing
            ? .refusal(found, remedy: "a policy module with: \(rule)")
            : .note(found, remedy: "before the policy is enforced, a policy module with: \(rule)")
    }
}
