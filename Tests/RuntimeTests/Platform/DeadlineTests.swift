import Glibc
import Platform
import Testing

@Suite struct DeadlineTests {
    @Test(arguments: [
        (Backoff(), [5, 10, 20, 40, 80, 80]), (Backoff(first: 100, limit: 100), [100, 100]),
        (Backoff(first: 1, limit: 3, growth: 1.25), [1, 1, 1, 1, 2, 3, 3]),
    ]) func pausesGrowUpToALimit(backoff: Backoff, expected: [Int]) {
        var backoff = backoff
        #expect(expected.map { _ in backoff.next() } == expected)
    }

    @Test func aConditionIsCheckedUntilItHolds() throws {
        var (checks, cancellationChecks) = (0, 0)
        let holds = try Deadline(milliseconds: 60_000).wait(
            backoff: Backoff(first: 1),
            checkCancellation: { cancellationChecks += 1 },
            until: {
                checks += 1
                return checks == 3
            }
        )
        #expect(holds && checks == 3 && cancellationChecks == 2)
    }

    @Test func theDeadlineEndsTheWait() throws {
        var checks = 0
        let now = Deadline(milliseconds: 0)
        #expect(try now.wait { true })
        let holds = try now.wait {
            checks += 1
            return false
        }
        #expect(!holds && checks == 1)
        // The last pause is no longer than what is left.
        let deadline = Deadline(milliseconds: 20)
        #expect(try !deadline.wait(backoff: Backoff(first: 60_000, limit: 60_000)) { false })
        #expect(deadline.hasPassed)
    }

    @Test func cancellationEndsTheWait() throws {
        let reason = Failure("cannot go on", because: "nobody waits")
        let error = #expect(throws: Failure.self) {
            try Deadline(milliseconds: 60_000).wait(
                checkCancellation: { () throws(Failure) in throw reason },
                until: { false }
            )
        }
        #expect(error == reason)
    }
}
