import CLinux
import Glibc
import Platform
import Testing

/// The timer of `vtpmctl`, and calls that its signal must not meet.
@Suite(.serialized) struct TimerSignalTests {
    private static var isHeld: Bool {
        var mask = sigset_t()
        pthread_sigmask(SIG_BLOCK, nil, &mask)
        return sigismember(&mask, SIGALRM) == 1
    }

    /// Runs `body` on a thread that takes the signal, as the only one of `vtpmctl` does; those of the tests block all.
    private static func takingSignals(_ body: () throws -> Void) throws {
        var signal = sigset_t()
        var before = sigset_t()
        sigemptyset(&signal)
        sigaddset(&signal, SIGALRM)
        pthread_sigmask(SIG_UNBLOCK, &signal, &before)
        defer { pthread_sigmask(SIG_SETMASK, &before, nil) }
        try body()
    }

    @Test func `the signal is held during a call, and no longer`() throws {
        TimerSignal.isUsed = true
        defer { TimerSignal.isUsed = false }
        try Self.takingSignals { () throws in
            #expect(try TimerSignal.hold { Self.isHeld })
            #expect(!Self.isHeld)
            let failure = Failure("cannot", because: "so")
            #expect(throws: failure) { try TimerSignal.hold { () throws(Failure) in throw failure } }
            #expect(!Self.isHeld)
        }
    }

    /// A supervisor, whose filter refuses it, does not ask.
    @Test func `without a timer nothing is held`() throws {
        try Self.takingSignals { () throws in #expect(try !TimerSignal.hold { Self.isHeld }) }
    }
}
