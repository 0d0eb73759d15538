import CLinux
import Glibc

extension Deadline {
    /// How long it takes at most until a wait for a lock notices that nobody needs it any more, in milliseconds.
    ///
    /// Dozens can wait at once, each of which looks at files of its container's.
    private static let lookInterval = 1000
    /// The same for the first time, since most waits are short.
    private static let firstLook = 200

    /// Waits for a lock, asleep in the kernel until its holder releases it; returns false if the deadline passes first.
    ///
    /// Each time that the lock is not free, `checkCancellation` is called: at the beginning, soon after, and then once a
    /// second.
    ///
    /// `attempt` takes the lock if it is free, and is called once even if the deadline has passed already. `call` is the
    /// system call of this name that waits for the lock and takes it, and returns -1 with `errno` if it could not. flock(2),
    /// fcntl(2), F_OFD_SETLKW
    func waitForLock(
        _ name: String,
        _ what: @autoclosure () -> String,
        checkCancellation: CancellationCheck,
        attempt: () throws(Failure) -> Bool,
        call: () -> CInt
    ) throws(Failure) -> Bool {
        if try attempt() { return true }
        try checkCancellation()
        guard remaining > 0 else { return false }
        let interruption: Interruption
        do {
            interruption = try Interruption(after: min(remaining, Self.firstLook), then: Self.lookInterval)
        } catch let error where error.code == EAGAIN {
            // A timer takes one of the signals that a user may have pending. RLIMIT_SIGPENDING, getrlimit(2)
            return try wait(checkCancellation: checkCancellation, until: attempt)
        }
        while true {
            if call() == 0 { break }
            let code = errno
            guard code == EINTR else { throw Failure(what(), call: name, code: code) }
            if try attempt() { break }
            try checkCancellation()
            guard remaining > 0 else { return false }
            // Not later than the deadline.
            interruption.set(after: min(remaining, Self.lookInterval), then: Self.lookInterval)
        }
        withExtendedLifetime(interruption) {}
        return true
    }
}

/// The waits for locks of a process.
public enum LockWait {
    /// Takes the handler of their signal away, from a process that will not wait so any more.
    ///
    /// Behind a filter that refuses rt_sigreturn(2), a signal with a handler would be the end of it.
    public static func end() { signal(SIGURG, SIG_DFL) }
}

/// A timer that interrupts the calling thread's system calls again and again, until it goes out of scope.
///
/// Neither flock(2) nor fcntl(2) takes a timeout. Its signal ends them with EINTR, since the handler is installed without
/// SA_RESTART. It comes repeatedly, as the first one may come just before the call. ``systemCall(_:_:_:)`` and ``PollSet``
/// go on after it.
///
/// The signal is SIGURG, which nothing else here uses: no socket of ours has urgent data. Without a handler it does
/// nothing, so that one which is late harms nobody. The handler stays until ``LockWait/end()``: another thread may still
/// wait. A program that is started does not inherit it. execve(2)
private struct Interruption: ~Copyable {
    private static let what = "cannot wait for a lock"

    private let timer: CInt
    private let mask: sigset_t

    /// Starts the timer; both times are in milliseconds, and more than 0.
    init(after first: Int, then interval: Int) throws(Failure) {
        var action = sigaction()
        action.__sigaction_handler.sa_handler = { _ in }
        try systemCall("sigaction", Self.what) { sigaction(SIGURG, &action, nil) }
        var number: CInt = 0
        try systemCall("timer_create", Self.what) { clinux_timer_create(SIGURG, &number) }
        timer = number
        var signal = sigset_t()
        var before = sigset_t()
        sigemptyset(&signal)
        sigaddset(&signal, SIGURG)
        pthread_sigmask(SIG_UNBLOCK, &signal, &before)
        mask = before
        set(after: first, then: interval)
    }

    /// Starts the timer anew; both times are in milliseconds, and more than 0.
    func set(after first: Int, then interval: Int) {
        var time = itimerspec(it_interval: Self.duration(interval), it_value: Self.duration(first))
        // It fails for a timer or a time that there cannot be.
        _ = clinux_timer_settime(timer, &time)
    }

    deinit {
        _ = clinux_timer_delete(timer)
        var mask = mask
        pthread_sigmask(SIG_SETMASK, &mask, nil)
    }

    private static func duration(_ milliseconds: Int) -> timespec {
        timespec(tv_sec: milliseconds / 1000, tv_nsec: milliseconds % 1000 * 1_000_000)
    }
}
