import Glibc
import Platform

/// What runs the host, and what this process may do on it.
enum SystemChecks {
    /// Whether this process is root.
    static func root(_ host: Host) throws(Failure) -> Finding {
        guard host.user != 0 else { return .ok("this is root") }
        return .problem(
            "user \(host.user) cannot see what the hook will meet: most of this is unknown",
            remedy: "sudo vtpmctl doctor"
        )
    }

    /// Whether this process is in the host's user namespace, as the hook must be.
    static func userNamespace(_ host: Host) throws(Failure) -> Finding {
        let fields = try host.line("/proc/self/uid_map")?.split(separator: " ") ?? []
        // All IDs, each as itself. user_namespaces(7)
        guard fields == ["0", "0", "4294967295"] else {
            return .refusal("this process is in a user namespace", remedy: "start the engine as the host's root")
        }
        return .ok("the host's own")
    }

    /// The capabilities that the hook and its supervisor use, by their numbers. linux/capability.h
    private static let capabilities: [(number: Int, name: String)] = [
        (0, "chown"), (1, "dac_override"), (2, "dac_read_search"), (3, "fowner"), (4, "fsetid"), (5, "kill"),
        (6, "setgid"), (7, "setuid"), (12, "net_admin"), (14, "ipc_lock"), (18, "sys_chroot"), (19, "sys_ptrace"),
        (21, "sys_admin"), (27, "mknod"),
    ]

    /// The daemons that start hooks, by the names of their processes.
    private static let daemons = ["dockerd", "containerd", "crio", "k3s-server", "k3s-agent"]

    /// What this process, and the daemons that start hooks, may do.
    static func privileges(_ host: Host) throws(Failure) -> Finding {
        var complaints: [String] = []
        var note: String?
        var seen: [String] = []
        for process in ["self"] + (try host.names("/proc").filter { Int($0) != nil }) {
            // A process that has ended meanwhile is none.
            guard let status = try? host.bytes("/proc/\(process)/status").map(ProcessStatus.init) else { continue }
            let name = process == "self" ? "this process" : status["Name"] ?? ""
            guard process == "self" || daemons.contains(name), !seen.contains(name) else { continue }
            seen.append(name)
            guard let text = status["CapBnd"], let bounds = UInt64(text, radix: 16) else { continue }
            let lacking = capabilities.filter { bounds >> UInt64($0.number) & 1 == 0 }.map { $0.name }
            if !lacking.isEmpty { complaints.append("\(name) lacks \(lacking.joined(separator: ", "))") }
            guard bounds >> 24 & 1 == 0 else { continue }
            if let limit = try lockedMemory(host, process), limit < 1 << 20 {
                complaints.append("\(name) lacks sys_resource and may lock \(limit) bytes of memory")
            } else {
                note = "\(name) lacks sys_resource: workers can be swapped out, and be killed where memory is short"
            }
        }
        guard complaints.isEmpty else {
            return .refusal(
                complaints.joined(separator: "; "),
                remedy: "give the engine's service these capabilities, and LimitMEMLOCK=infinity"
            )
        }
        if let note { return .note(note, remedy: "give the engine's service CAP_SYS_RESOURCE") }
        return .ok("\(seen.joined(separator: ", ")): all that is needed")
    }

    /// Returns the hard limit of locked memory of a process, in bytes; nil if there is none.
    private static func lockedMemory(_ host: Host, _ process: String) throws(Failure) -> UInt64? {
        let lines = try host.text("/proc/\(process)/limits")?.split(separator: "\n") ?? []
        // Max locked memory, soft, hard, bytes. proc_pid_limits(5)
        let fields = lines.first { $0.hasPrefix("Max locked memory") }?.split(separator: " ") ?? []
        return fields.count > 4 ? UInt64(fields[4]) : nil
    }

    /// systemd, which owns the control groups of engines that use its driver.
    static func systemd(_ host: Host) throws(Failure) -> Finding {
        guard host.exists("/run/systemd/system") else { return .ok("another init runs this host") }
        do {
            return .ok("systemd \(try host.systemdVersion())")
        } catch {
            return .refusal(
                "systemd runs this host, and cannot be asked: \(error.why)",
                remedy: error.hint ?? "have the engines use their cgroupfs driver: docs/configuration.md"
            )
        }
    }

    /// The clock, on which the retention of states depends.
    static func clock(_ host: Host) throws(Failure) -> Finding {
        let (seconds, isSynchronized) = host.clock()
        let date = Timestamp.utc(UInt64(clamping: seconds), "%Y-%m-%d %H:%M:%SZ")
        // 2025-01-01: no release of this program is older.
        guard seconds >= 1_735_689_600 else {
            return .problem(
                "it is \(date) here: when states were used last is recorded wrong",
                remedy: "timedatectl set-ntp true, or date --set"
            )
        }
        guard isSynchronized else {
            return .note("\(date), and nothing synchronizes it", remedy: "timedatectl set-ntp true")
        }
        return .ok("\(date), synchronized")
    }

    /// Something that takes the log.
    static func log(_ host: Host) throws(Failure) -> Finding {
        guard host.exists("/dev/log") else {
            return .problem(
                "there is no /dev/log: nobody learns why a container was refused under crun",
                remedy: "run a system logger: systemd-journald or rsyslog"
            )
        }
        return .ok("/dev/log is there")
    }
}
