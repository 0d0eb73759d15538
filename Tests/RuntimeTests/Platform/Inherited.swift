import CLinux
import Glibc
import Platform

@testable import RuntimeConfinement

/// What the kernel says that a process has, of all that it could have inherited. proc(5)
struct Inherited {
    let process: pid_t

    private func text(_ file: String) throws -> String {
        let path = "/proc/\(process)/\(file)"
        return String(decoding: try Descriptor.open(path, .read).readAll(limit: 65536, path), as: UTF8.self)
    }

    /// Soft limit and hard limit, in words.
    func limit(_ name: String) throws -> [String] {
        for line in try text("limits").split(separator: "\n") where line.hasPrefix(name) {
            return line.dropFirst(name.count).split(separator: " ").prefix(2).map(String.init)
        }
        return []
    }

    /// The signals of a field of the status, but for the C library's own, 32 and 33.
    ///
    /// posix_spawn(3) has a child ignore them, and signal(2) leaves them as they are.
    func signals(_ field: String) throws -> UInt64 {
        (UInt64(try Procfs().status(of: process)[field] ?? "", radix: 16) ?? .max) & ~(0b11 << 31)
    }

    func umask() throws -> String? { try Procfs().status(of: process)["Umask"] }

    /// Fields from the third on, after the name.
    private func stat() throws -> [Substring] {
        let text = try text("stat")
        return text[(text.lastIndex(of: ")") ?? text.startIndex)...].dropFirst().split(separator: " ")
    }

    /// proc_pid_stat(5): nice is field 19, policy 41.
    func nice() throws -> String { String(try stat()[16]) }
    func policy() throws -> String { String(try stat()[38]) }
    func personality() throws -> String { try text("personality").split(separator: "\n").joined() }
    func timerSlack() throws -> String { try text("timerslack_ns").split(separator: "\n").joined() }
    func inputOutputClass() -> CInt { clinux_ioprio(process) >> 13 }

    /// Where descriptors 0 to 2 lead.
    func standardDescriptors() throws -> [String] {
        try (0...2).map { try link("fd/\($0)") }
    }

    func link(_ file: String) throws -> String {
        var buffer = [CChar](repeating: 0, count: 4096)
        let path = "/proc/\(process)/\(file)"
        let count = try systemCall("readlink", "cannot read \(path)") { readlink(path, &buffer, buffer.count) }
        return String(decoding: buffer[..<count].map { UInt8(truncatingIfNeeded: $0) }, as: UTF8.self)
    }
}

/// A program that has inherited everything that can be bad, each of which is named in `Platform/Process/Inheritance.swift`.
enum BadStarter {
    /// Starts the rest of its arguments in its own place.
    ///
    /// The timer fires at once: one that goes on is a program's end.
    static let script = """
        import ctypes, os, platform, resource, signal, sys
        libc = ctypes.CDLL(None)
        def soft(name, value):
            limit = getattr(resource, name, None)
            if limit is None: return
            hard = resource.getrlimit(limit)[1]
            resource.setrlimit(limit, (value if hard == -1 else min(value, hard), hard))
        soft("RLIMIT_FSIZE", 1024)
        soft("RLIMIT_CPU", 3000)
        soft("RLIMIT_DATA", 1 << 31)
        soft("RLIMIT_AS", 1 << 34)
        soft("RLIMIT_NPROC", 5000)
        soft("RLIMIT_NOFILE", 40)
        soft("RLIMIT_STACK", 1 << 19)
        soft("RLIMIT_MEMLOCK", 4096)
        soft("RLIMIT_MSGQUEUE", 0)
        soft("RLIMIT_SIGPENDING", 9)
        soft("RLIMIT_RTTIME", 1000000)
        for number in set(signal.valid_signals()) - {signal.SIGKILL, signal.SIGSTOP}:
            signal.signal(number, signal.SIG_IGN)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.2)
        os.umask(0o777)
        ioprio_set = {"x86_64": 251, "aarch64": 30}[platform.machine()]
        libc.syscall(ioprio_set, 1, 0, 1 << 13)
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
        os.setpriority(os.PRIO_PROCESS, 0, -5)
        libc.prctl(29, 1000000000)
        libc.personality(0x0440000)
        os.execv(sys.argv[1], sys.argv[1:])
        """
    static let command = ["/usr/bin/python3", "-c", script]
}
