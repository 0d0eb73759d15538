import CLinux
import Glibc

/// A check between two attempts of a wait, which throws if nobody needs the result any more.
public typealias CancellationCheck = () throws(Failure) -> Void

/// A point on the monotonic clock at which a wait ends.
///
/// Each of Swift's own clocks is part of its concurrency runtime, which none of the programs needs.
public struct Deadline: Comparable, Sendable {
    /// The end, in milliseconds of the clock.
    private let end: Int

    /// Creates a deadline this many milliseconds from now.
    public init(milliseconds: Int) {
        end = Self.now + milliseconds
    }

    /// The milliseconds until the deadline, rounded up; 0 if it has passed.
    public var remaining: Int { max(end - Self.now, 0) }

    /// The time of CLOCK_BOOTTIME, which goes on while the host is suspended. clock_gettime(2)
    private static var now: Int {
        var time = timespec()
        clock_gettime(CLOCK_BOOTTIME, &time)
        return time.tv_sec * 1000 + time.tv_nsec / 1_000_000
    }

    /// Returns whether one deadline comes before another.
    public static func < (one: Deadline, other: Deadline) -> Bool { one.end < other.end }

    /// Whether it has passed.
    public var hasPassed: Bool { remaining == 0 }

    /// Checks a condition until it holds; returns false if it still does not hold at the deadline.
    ///
    /// Use it for changes of which the kernel notifies nobody: ``PollSet`` waits for those that a descriptor tells of, and
    /// ``FileLock`` and ``Descriptor/lock(byte:until:_:checkCancellation:attempt:)`` for locks. The condition is checked
    /// once even if the deadline has passed already, and a last time at the deadline. Each time that it does not hold,
    /// `checkCancellation` is called.
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
/// If dozens of processes checked all the time, the one for which they wait would get no processor.
public struct Backoff: Sendable {
    /// The next pause, in milliseconds; fractions add up to whole ones.
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

/// Sleeps for this many milliseconds, or until a signal is handled.
public func sleep(milliseconds: Int) {
    poll(nil, 0, CInt(clamping: milliseconds))
}
