import CLinux
import Foundation
import Glibc
import Platform
import Testing

@Suite struct PollTests {
    private final class Pipe {
        let reading: Descriptor
        let writing: Descriptor

        init() throws {
            var ends: [CInt] = [-1, -1]
            try #require(pipe2(&ends, O_CLOEXEC) == 0)
            reading = Descriptor(owning: ends[0])
            writing = Descriptor(owning: ends[1])
        }
    }

    private nonisolated(unsafe) static var signalsSeen = 0

    /// The wait has ended while signals still come: each of them has left the deadline where it was.
    @Test func aSignalDoesNotBeginTheTimeAnew() throws {
        let silent = try Pipe()
        let stop = try Pipe()
        let done = try Pipe()

        var action = sigaction()
        action.__sigaction_handler.sa_handler = { _ in PollTests.signalsSeen += 1 }
        try #require(sigaction(SIGUSR2, &action, nil) == 0)
        // The threads that tests run in have all signals blocked.
        var signals = sigset_t()
        var before = sigset_t()
        sigemptyset(&signals)
        sigaddset(&signals, SIGUSR2)
        try #require(pthread_sigmask(SIG_UNBLOCK, &signals, &before) == 0)
        defer { pthread_sigmask(SIG_SETMASK, &before, nil) }
        let (waiter, stopNumber, doingNumber) = (pthread_self(), stop.reading.number, done.writing.number)
        Thread.detachNewThread {
            var entry = pollfd(fd: stopNumber, events: Int16(POLLIN), revents: 0)
            for _ in 0..<3000 {
                pthread_kill(waiter, SIGUSR2)
                if poll(&entry, 1, 5) > 0 { break }
            }
            write(doingNumber, "d", 1)
        }
        #expect(try wait(for: silent.reading.number, until: Deadline(milliseconds: 300)) == 0)
        #expect(
            try wait(for: done.reading.number, until: Deadline(milliseconds: 0)) == 0,
            "it waited for the last signal"
        )
        #expect(Self.signalsSeen > 3, "no signal came")
        try stop.writing.writeAll([1], "the pipe")
        #expect(try wait(for: done.reading.number, until: Deadline(milliseconds: 60_000)) != 0)
        withExtendedLifetime(silent) {}
    }
}
