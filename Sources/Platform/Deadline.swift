import CLinux
import Glibc

/// Called between attempts while something is waited for; throws if nobody needs it any more.
public typealias CancellationCheck = () throws(Failure) -> Void

/// A point on the monotonic clock that a wait ends at.
///
/// Of Swift's own clocks each is a part of its concurrency runtime, which none of the programs has a use for.
public struct Deadline: Comparable, Sendable {
    /// In milliseconds of the clock.
    private let end: Int

    /// So many milliseconds from now.
    public init(milliseconds: Int) {
        end = Self.now + milliseconds
    }

    /// Milliseconds until then, rounded up; 0 when it has passed.
    public var remaining: Int { max(end - Self.now, 0) }

    /// CLOCK_BOOTTIME goes on while the host sleeps. clock_gettime(2)
    private static var now: Int {
        var time = timespec()
        clock_gettime(CLOCK_BOOTTIME, &time)
        return time.tv_sec * 1000 + time.tv_nsec / 1_000_000
    }

    /// Whether one deadline comes before another.
    public static func < (one: Deadline, other: Deadline) -> Bool { one.end < other.end }

    /// Whether it has passed.
    public var hasPassed: Bool { remaining == 0 }

    /// Repeats a condition until it holds; returns false if it does not hold when the deadline has passed.
    ///
    /// This is for what notifies nobody when it changes; ``PollSet`` waits for everything else. The condition is checked
    /// once even if the deadline has passed already, and a last time at the deadline. `checkCancellation` is called each
    /// time that it does not hold.
    public func wait(
        backoff: Backoff = Backoff(),
        checkCancellation: CancellationCheck = {},
        until condition: () throws(Failure) -> Bool
    ) throws(Failure) -> Bool {
        var backoff = backoff
        while try !condition() {
            try checkCancellation()
            let remaining = remaining
            guard remaining > 0 else { return false }
            sleep(milliseconds: min(backoff.next(), remaining))
        }
        return true
    }
}

/// The pauses between attempts: each is longer than the one before, up to a limit.
///
/// Dozens of processes that check all the time would keep the one that they wait for from going on.
public struct Backoff: Sendable {
    /// In milliseconds; a fraction counts as soon as it has grown to a whole one.
    private var pause: Double
    private let limit: Double
    private let growth: Double

    /// Begins with a pause of `first` milliseconds and multiplies it by `growth` each time, up to `limit` milliseconds.
    public init(first: Int = 5, limit: Int = 80, growth: Double = 2) {
        self.pause = Double(first)
        self.limit = Double(limit)
        self.growth = growth
    }

    /// Returns the next pause, in milliseconds.
    public mutating func next() -> Int {
        defer { pause = min(pause * growth, limit) }
        return Int(pause)
    }
}

/// Sleeps for so many milliseconds, or until a signal is handled.
public func sleep(milliseconds: Int) {
    poll(nil, 0, CInt(clamping: milliseconds))
}
