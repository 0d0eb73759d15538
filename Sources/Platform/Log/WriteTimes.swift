import CLinux
import Glibc

/// How long the writes of a vTPM's state have taken, each until it was on stable storage.
///
/// A command of the tenant's waits for its write. Three numbers are kept and logged once, when the vTPM ends: a line for
/// each write would let a tenant fill the log.
public struct WriteTimes: Equatable, Sendable {
    /// The number of writes.
    public var count: UInt64
    /// The time of all together, in microseconds.
    public var total: UInt64
    /// The longest, in microseconds.
    public var longest: UInt64

    /// Creates the times of writes that were measured.
    public init(count: UInt64 = 0, total: UInt64 = 0, longest: UInt64 = 0) {
        self.count = count
        self.total = total
        self.longest = longest
    }

    /// Adds a write that took this many microseconds.
    public mutating func add(_ microseconds: UInt64) {
        add(WriteTimes(count: 1, total: microseconds, longest: microseconds))
    }

    /// Adds other writes.
    ///
    /// The numbers may come from a log, so they stop at their limit.
    public mutating func add(_ others: WriteTimes) {
        count = count.addingClamped(others.count)
        total = total.addingClamped(others.total)
        longest = max(longest, others.longest)
    }

    /// Runs `body`, and adds the time that it took if it did not throw.
    public mutating func measure(_ body: () throws(Failure) -> Void) throws(Failure) {
        let start = Self.now
        try body()
        add(Self.now &- start)
    }

    /// The microseconds of a clock that nobody sets. clock_gettime(2)
    private static var now: UInt64 {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return UInt64(clamping: time.tv_sec) &* 1_000_000 &+ UInt64(clamping: time.tv_nsec / 1000)
    }
}

extension UInt64 {
    /// Returns the sum, or the largest number if that is too large.
    public func addingClamped(_ other: UInt64) -> UInt64 {
        let (sum, isTooLarge) = addingReportingOverflow(other)
        return isTooLarge ? .max : sum
    }
}
