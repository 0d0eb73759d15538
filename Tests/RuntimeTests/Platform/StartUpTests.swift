import CLinux
import Glibc
import Platform
import RuntimeControl
import RuntimeState
import Testing

/// Which files of the host hook, supervisor and worker read, from their start to their end: docs/performance.md, "What a
/// start reads", has the reasons.
@Suite(.serialized) struct StartUpTests {
    let temporary: TemporaryDirectory

    init() throws {
        temporary = try TemporaryDirectory()
    }

    /// What Swift's Foundation and libdispatch look at as they are loaded; a build for tests loads both into each program.
    private static let swift: Set = ["/proc/self/maps", "/sys/devices/system/cpu/possible"]

    /// What each program looks at that is neither a library nor below its own directories; `N` stands for a number.
    private static let files: [String: Set<String>] = [
        "hook": [
            "/etc/ld.so.preload", "/etc/ld.so.cache", "/etc/localtime", "/proc", "/run/container-vtpm",
            "self/mountinfo", "/sys/fs/cgroup", "/sys/fs/cgroup/unified", "cgroup.procs",
            "/sys/class/misc/hw_random/rng_current", "/sys/devices/system/cpu/online",
        ],
        "supervisor": [
            "/etc/ld.so.preload", "/etc/ld.so.cache", "/etc/localtime", "/dev/null", "/proc", "self/oom_score_adj",
            "N/oom_score_adj", "N/status", "thread-self/ns", "N/ns", "N/mountinfo", "N/fd", "pid", "mnt", "net", "ipc",
            "uts",
            "cgroup", "user", "self/status", "self/setgroups", "self/uid_map", "self/gid_map",
        ],
        "worker": ["/etc/ld.so.preload", "/etc/ld.so.cache", "/dev/null", "/proc"],
    ]

    @Test func theHookReadsNothingElse() throws {
        let file = "\(temporary.path)/trace"
        // With a lease directory, it derives the name of the container's lease, which takes a digest.
        let script = "mount -t tmpfs none /run && mkdir -m 0700 /run/container-vtpm && exec \"$@\""
        let starter = ["/usr/bin/unshare", "--mount", "--propagation", "private", "/bin/sh", "-c", script, "sh"]
        let hook = try HookUnderTest(
            through: starter + ["/usr/bin/strace", "-f", "-o", file, "-e", "trace=%file"],
            in: temporary
        )
        hook.say(#"{"id":"nobody","bundle":"/nowhere","pid":0}"#)
        #expect(try hook.end().status == .exited(0))
        let trace = try SystemCallTrace(file, ended: 1)
        try compare(trace.calls, "hook")
    }

    @Test func supervisorAndWorkerReadNothingElse() throws {
        let file = "\(temporary.path)/trace"
        let tpm = try VTPMUnderTest(in: temporary, trace: file, traced: "%file")
        try tpm.create()
        #expect(try tpm.transmit(getRandom).count == 20)
        try tpm.stop()
        let trace = try SystemCallTrace(file, ended: 2)
        try compare(trace.calls.filter { $0.process == "\(tpm.supervisor.process)" }, "supervisor")
        try compare(trace.calls.filter { $0.process == "\(tpm.worker)" }, "worker")
    }

    private func compare(_ calls: [SystemCallTrace.Call], _ program: String) throws {
        let paths = calls.filter { ["open", "openat", "openat2", "access", "faccessat"].contains($0.name) }
            .compactMap { $0.arguments.firstMatch(of: /"([^"]*)"/).map { String($0.1) } }
        // The installed supervisor loads nothing; what it opens first is in its trace too.
        try #require(paths.contains("/etc/ld.so.cache") || paths.contains("made-state"), "the trace has no start")
        let expected = try #require(Self.files[program])
        let foreign = Set(paths.filter(isForeign).map { $0.replacing(/^[0-9]+(?=\/)/, with: "N") })
        #expect(foreign.subtracting(expected).subtracting(Self.swift) == [], "the \(program) looks at them")
    }

    /// Whether it is no library, and not of this test's own.
    private func isForeign(_ path: String) -> Bool {
        let own = ["lease", "lease-web", "web", "state", "index", "lock", "root", "made-state", "control", "."]
        return !path.contains(".so.") && !path.hasSuffix(".so") && !path.hasPrefix(temporary.path)
            && !path.contains(/\.new|\.old|^(tree|journal)\.[0-9]+$/) && !own.contains(path)
            && !path.contains(/^container-vtpm|^[0-9a-f]{32}$/)
    }
}
