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

    @Test func `the signal is held during a call, and no longer`() throws {
        TimerSignal.isUsed = true
        defer { TimerSignal.isUsed = false }
        #expect(try TimerSignal.hold { Self.isHeld })
        #expect(!Self.isHeld)
        #expect(throws: Failure.self) {
            try TimerSignal.hold { () throws(Failure) in throw Failure("a", because: "b") }
        }
        #expect(!Self.isHeld)
    }

    /// A supervisor, whose filter refuses it, does not ask.
    @Test func `without a timer nothing is held`() throws {
        #expect(try !TimerSignal.hold { Self.isHeld })
    }
}
