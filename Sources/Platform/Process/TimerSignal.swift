import CLinux
import Glibc

/// SIGALRM in a program with a timer of its own, which some calls must not meet.
public enum TimerSignal {
    /// Whether the program has such a timer; only then the signal is held, as a confined process may not ask for that.
    public nonisolated(unsafe) static var isUsed = false

    /// Runs `body`, and lets the signal come only after it. sigprocmask(2)
    ///
    /// systemCall(_:_:_:) repeats a call that a signal has interrupted. That is not enough where the call fails otherwise.
    public static func hold<Result>(_ body: () throws(Failure) -> Result) throws(Failure) -> Result {
        guard isUsed else { return try body() }
        var signal = sigset_t()
        var before = sigset_t()
        sigemptyset(&signal)
        sigaddset(&signal, SIGALRM)
        try systemCall("sigprocmask", "cannot block signals") { sigprocmask(SIG_BLOCK, &signal, &before) }
        defer { sigprocmask(SIG_SETMASK, &before, nil) }
        return try body()
    }
}
