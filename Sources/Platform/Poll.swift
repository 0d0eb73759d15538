import Glibc

/// A point on the monotonic clock that a wait ends at.
public struct Deadline: Sendable {
    private let end: ContinuousClock.Instant

    /// So many milliseconds from now.
    public init(milliseconds: Int) {
        end = ContinuousClock.now.advanced(by: .milliseconds(milliseconds))
    }

    /// Milliseconds until then, rounded up; 0 when it has passed.
    public var remaining: Int {
        let left = ContinuousClock.now.duration(to: end)
        guard left > .zero else { return 0 }
        let (seconds, attoseconds) = left.components
        return Int(seconds) * 1000 + Int(attoseconds / 1_000_000_000_000_000) + 1
    }

    /// Whether it has passed.
    public var hasPassed: Bool { remaining == 0 }
}

/// A set of descriptors to wait on. poll(2)
public struct PollSet {
    private var entries: [pollfd] = []

    /// An empty set.
    public init() {}

    /// Makes it an empty set again, which needs no new memory for as many descriptors as it has had.
    public mutating func removeAll() {
        entries.removeAll(keepingCapacity: true)
    }

    /// Adds a descriptor and returns its index, for ``events(at:)``.
    ///
    /// The events are POLLIN and such; 0 asks for POLLHUP and POLLERR alone, which are always told.
    @discardableResult
    public mutating func add(_ number: CInt, _ events: CInt = CInt(POLLIN)) -> Int {
        entries.append(pollfd(fd: number, events: Int16(events), revents: 0))
        return entries.count - 1
    }

    /// Waits until something happened, at most so many milliseconds (-1: without end).
    ///
    /// Returns false when nothing happened in that time.
    @discardableResult
    public mutating func wait(milliseconds: Int = -1) throws(Failure) -> Bool {
        let count = entries.count
        let ready = try systemCall("poll", "cannot wait for events") {
            poll(&entries, nfds_t(count), CInt(clamping: milliseconds))
        }
        return ready > 0
    }

    /// What happened on the descriptor with this index.
    public func events(at index: Int) -> CInt {
        CInt(entries[index].revents)
    }

    /// Whether anything happened on the descriptor with this index.
    public func isReady(_ index: Int) -> Bool {
        entries[index].revents != 0
    }
}

/// Waits on one descriptor and returns its events, 0 when the deadline passed first.
public func wait(for number: CInt, _ events: CInt = CInt(POLLIN), until deadline: Deadline) throws(Failure) -> CInt {
    var set = PollSet()
    let index = set.add(number, events)
    try set.wait(milliseconds: deadline.remaining)
    return set.events(at: index)
}
