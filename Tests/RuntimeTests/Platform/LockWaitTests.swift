import CLinux
import Foundation
import Glibc
import Platform
import Testing

/// Waits for locks are waits in the kernel, which end when they have to.
@Suite final class LockWaitTests: Sendable {
    private let path = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString).path

    deinit { unlink(path) }

    private func open() throws(Failure) -> Descriptor {
        try .open(path, OpenOptions(O_RDWR | O_CREAT, mode: 0o600))
    }

    enum Kind: CaseIterable { case file, byte }

    /// Runs `body` until it returns true, for a minute at most.
    private func until(_ body: () throws -> Bool) throws {
        let end = Deadline(milliseconds: 60_000)
        while try !body() {
            try #require(!end.hasPassed)
            usleep(2000)
        }
    }

    /// Takes a lock with a descriptor of its own, and releases it at once.
    private func take(
        _ kind: Kind,
        until deadline: Deadline,
        checkCancellation: CancellationCheck = {}
    ) throws(Failure) {
        let file = try open()
        switch kind {
        case .file:
            _ = try FileLock(of: file, until: deadline, "a file", checkCancellation: checkCancellation)
        case .byte:
            let isLocked = try file.lock(
                byte: 7,
                until: deadline,
                "cannot lock",
                checkCancellation: checkCancellation,
                attempt: { () throws(Failure) in try file.tryLock(byte: 7, "cannot lock") }
            )
            guard isLocked else { throw Failure("cannot lock", because: "another process has it") }
        }
    }

    private func hold(_ file: borrowing Descriptor, _ kind: Kind) throws {
        switch kind {
        case .file: try #require(try file.tryLock("cannot lock"))
        case .byte: try #require(try file.tryLock(byte: 7, "cannot lock"))
        }
    }

    @Test(arguments: Kind.allCases) func whoWaitsSleepsInTheKernelAndGetsTheLock(_ kind: Kind) throws {
        var holder: Descriptor? = try open()
        switch holder {
        case .some(let holder): try hold(holder, kind)
        case .none: break
        }
        let inode = UInt64(try open().status(path).st_ino)
        let outcome = Outcome()
        let thread = Thread { [self] in
            outcome.set(Result { try take(kind, until: Deadline(milliseconds: 60_000)) })
        }
        thread.start()
        try until { try waiters(forInode: inode) == 1 }
        holder = nil
        try until { outcome.get != nil }
        #expect(throws: Never.self) { try outcome.get?.get() }
    }

    @Test(arguments: Kind.allCases) func theDeadlineEndsAWait(_ kind: Kind) throws {
        let holder = try open()
        try hold(holder, kind)
        for milliseconds in [0, 1, 30, 250] {
            let deadline = Deadline(milliseconds: milliseconds)
            let error = #expect(throws: Failure.self) { try take(kind, until: deadline) }
            #expect(error?.why == "another process has it")
            #expect(deadline.hasPassed)
        }
        withExtendedLifetime(holder.number) {}
    }

    @Test(arguments: Kind.allCases) func aCancellationEndsAWaitThatIsUnderWay(_ kind: Kind) throws {
        let holder = try open()
        try hold(holder, kind)
        let reason = Failure("cannot go on", because: "nobody waits")
        var checks = 0
        let error = #expect(throws: Failure.self) {
            try take(kind, until: Deadline(milliseconds: 60_000)) { () throws(Failure) in
                checks += 1
                if checks == 3 { throw reason }
            }
        }
        #expect(error == reason)
        withExtendedLifetime(holder.number) {}
    }

    /// As on the threads of the tests, all of which block all signals, and after each other's waits.
    @Test func waitsOfManyThreadsEndEachByItself() throws {
        let holder = try open()
        try hold(holder, .file)
        let outcomes = (0..<8).map { _ in Outcome() }
        for (number, outcome) in outcomes.enumerated() {
            Thread { [self] in
                outcome.set(Result { try take(.file, until: Deadline(milliseconds: 20 + 40 * number)) })
            }.start()
        }
        try until { outcomes.allSatisfy { $0.get != nil } }
        for outcome in outcomes {
            let error = #expect(throws: Failure.self) { try outcome.get?.get() }
            #expect(error?.why == "another process has it")
        }
        withExtendedLifetime(holder.number) {}
    }

    @Test func theSignalMaskIsWhatItWas() throws {
        let holder = try open()
        try hold(holder, .file)
        var signal = sigset_t()
        sigemptyset(&signal)
        sigaddset(&signal, SIGURG)
        var before = sigset_t()
        pthread_sigmask(SIG_BLOCK, &signal, &before)
        defer { pthread_sigmask(SIG_SETMASK, &before, nil) }
        #expect(throws: Failure.self) { try take(.file, until: Deadline(milliseconds: 20)) }
        var after = sigset_t()
        pthread_sigmask(SIG_BLOCK, nil, &after)
        #expect(sigismember(&after, SIGURG) == 1)
        withExtendedLifetime(holder.number) {}
    }

    /// A result that another thread sets.
    private final class Outcome: @unchecked Sendable {
        private let lock = NSLock()
        private var result: Result<Void, any Error>?

        func set(_ result: Result<Void, any Error>) { lock.withLock { self.result = result } }
        var get: Result<Void, any Error>? { lock.withLock { result } }
    }
}

/// Returns how many wait in the kernel for locks of a file, by `/proc/locks`, where `->` is before each. proc_locks(5)
func waiters(forInode inode: UInt64) throws -> Int {
    let locks = try Descriptor.open("/proc/locks", .read).readAll(limit: 1 << 24, "locks")
    let lines = String(decoding: locks, as: UTF8.self).split(separator: "\n")
    return lines.filter { $0.contains("->") && $0.contains(":\(inode) ") }.count
}
