import CLinux
import Glibc

/// What a program inherits beside its arguments, and what becomes of it.
///
/// This is the whole list. Each of our programs resets it before anything else.
///
/// | inherited | becomes | why |
/// |---|---|---|
/// | descriptors 0 to 2 that are closed | `/dev/null`, not for writing | the first file that is opened would be standard input or error; output that is lost stays an error |
/// | other descriptors | closed by hook and worker | an engine's socket would live as long as a container |
/// | environment | cleared by the hook; libcrypto's removed by `vtpmctl` | it leads libraries to other files |
/// | signals, ignored, blocked or pending | the default, none blocked | crun blocks them; with SIGCHLD ignored no child can be waited for |
/// | SIGPIPE, SIGXFSZ | ignored | a closed pipe and a file that may not grow are errors that are told |
/// | timers: alarm(2), setitimer(2) | stopped | they survive execve(2) and would kill by a signal |
/// | RLIMIT_FSIZE, _AS, _DATA, _CPU, _RTTIME, _NPROC, _MEMLOCK, _MSGQUEUE, _SIGPENDING | as high as the hard limit | soft limits are for the engine's own use; a supervisor lives for months |
/// | RLIMIT_NOFILE, RLIMIT_STACK | at least 1024; 8 MiB | enough, and what libraries expect |
/// | RLIMIT_CORE | 0 (``Hardening/protectMemory()``) | keys are in memory |
/// | scheduling policy, negative nice value, I/O class | the default | a worker that a tenant has taken over must not come before the host's own processes, and an idle one would miss the kernel's deadlines |
/// | timer slack | 50 µs, Linux's own | deadlines |
/// | personality(2) | Linux's own | no addresses that are not random, no memory that is executable because it is readable |
/// | umask, working directory | 077, `/`; a person's directory is kept | others must not read what is written; no mount must be kept busy |
/// | PR_SET_PDEATHSIG | none | runtimes set it, and a thread's end is enough for it; a hook ends by itself, and undoes more |
///
/// Not touched: a positive nice value, the processors (taskset, CPUAffinity=) and the cgroup, which are the host's
/// choice for the engine and hold for its containers too; RLIMIT_NICE, _RTPRIO and _LOCKS, which nothing of ours asks
/// for; capabilities and securebits, of which supervisor and worker give up all they can, while what is missing fails
/// with its own error; PR_SET_NO_NEW_PRIVS, seccomp filters and namespaces, which cannot be left; the child subreaper,
/// which fork(2) clears; the out-of-memory score, which supervisor and worker set
/// (``Hardening/setOutOfMemoryScore(_:of:)``).
public enum Inheritance {
    /// Who starts a program.
    public enum Starter: Sendable {
        /// An engine or its runtime.
        case engine
        /// A program of ours, which has reset most of it and passes descriptors on purpose.
        case ours
        /// A person in a shell, or a service.
        case person
    }

    /// Resets all of it.
    ///
    /// Returns what could not be reset, for the log: a program can work without that. Inherited descriptors and the
    /// environment are left to ``Hardening``, since some of our programs use them.
    public static func reset(from starter: Starter) throws(Failure) -> [Failure] {
        try openStandardDescriptors()
        stopTimers()
        try resetSignals(from: starter)
        raiseLimits()
        umask(0o077)
        if starter != .person {
            try systemCall("chdir", "cannot leave the working directory") { chdir("/") }
            _ = clinux_prctl(PR_SET_PDEATHSIG, 0)
        }
        _ = clinux_prctl(PR_SET_TIMERSLACK, 50_000)
        return [resetPersonality(), resetPolicy(), resetNiceValue(), resetInputOutputClass()].compactMap { $0 }
    }

    private static func openStandardDescriptors() throws(Failure) {
        for number in CInt(0)...2 where fcntl(number, F_GETFD) < 0 {
            // The lowest number that is free, which is this one.
            try systemCall("open", "cannot open /dev/null as descriptor \(number)") { open("/dev/null", O_RDONLY) }
        }
    }

    private static func stopTimers() {
        var none = itimerval()
        // ITIMER_REAL, ITIMER_VIRTUAL, ITIMER_PROF
        for timer in CInt(0)...2 { setitimer(numericCast(timer), &none, nil) }
    }

    /// A person's `nohup`, and a shell's background job, ignore signals on purpose.
    private static func resetSignals(from starter: Starter) throws(Failure) {
        let requests: Set = [SIGHUP, SIGINT, SIGQUIT, SIGTERM]
        let personal: Set = [SIGTSTP, SIGTTIN, SIGTTOU, SIGCONT, SIGPIPE]
        for number in CInt(1)...64 {
            // An ignored one is no longer pending; a request to end is, and is obeyed once none is blocked.
            if requests.contains(number) {
                if starter != .person { signal(number, SIG_DFL) }
            } else if starter != .person || !personal.contains(number) {
                signal(number, SIG_IGN)
                let staysIgnored = number == SIGXFSZ || number == SIGPIPE
                if !staysIgnored { signal(number, SIG_DFL) }
            }
        }
        var none = sigset_t()
        sigemptyset(&none)
        try systemCall("sigprocmask", "cannot unblock signals") { sigprocmask(SIG_SETMASK, &none, nil) }
    }

    private static func raiseLimits() {
        let limits: [__rlimit_resource] = [
            RLIMIT_FSIZE, RLIMIT_AS, RLIMIT_DATA, RLIMIT_CPU, __RLIMIT_RTTIME, __RLIMIT_NPROC, __RLIMIT_MEMLOCK,
            __RLIMIT_MSGQUEUE, __RLIMIT_SIGPENDING,
        ]
        for limit in limits { change(limit) { $0.rlim_cur = $0.rlim_max } }
        change(RLIMIT_NOFILE) { $0.rlim_cur = min(max($0.rlim_cur, 1024), $0.rlim_max) }
        change(RLIMIT_STACK) { $0.rlim_cur = min(8 << 20, $0.rlim_max) }
    }

    private static func change(_ resource: __rlimit_resource, _ body: (inout rlimit) -> Void) {
        let number = __rlimit_resource_t(resource.rawValue)
        var limit = rlimit()
        guard getrlimit(number, &limit) == 0 else { return }
        let before = limit.rlim_cur
        body(&limit)
        // Up to the hard limit needs no privilege; where a sandbox of the engine's forbids even that, it is no worse.
        if limit.rlim_cur != before { setrlimit(number, &limit) }
    }

    private static func resetPersonality() -> Failure? {
        guard clinux_personality(0xffff_ffff) != 0 else { return nil }
        return attempt("personality", "cannot leave the personality") { clinux_personality(0) }
    }

    private static func resetPolicy() -> Failure? {
        guard sched_getscheduler(0) != SCHED_OTHER else { return nil }
        var parameter = sched_param()
        return attempt("sched_setscheduler", "cannot leave the scheduling policy") {
            sched_setscheduler(0, SCHED_OTHER, &parameter)
        }
    }

    private static func resetNiceValue() -> Failure? {
        guard clinux_nice_value() < 0 else { return nil }
        return attempt("setpriority", "cannot give up the priority") { clinux_set_nice_value(0) }
    }

    /// The classes are real time, 1, best effort and idle, 3; with none, the nice value decides. ioprio_set(2)
    private static func resetInputOutputClass() -> Failure? {
        let isSpecial = [1, 3].contains(clinux_ioprio(0) >> 13)
        return isSpecial ? attempt("ioprio_set", "cannot leave the I/O class", clinux_reset_ioprio) : nil
    }

    private static func attempt(_ call: String, _ what: String, _ body: () -> CInt) -> Failure? {
        do throws(Failure) {
            try systemCall(call, what, body)
            return nil
        } catch {
            return error
        }
    }
}
