import CLinux
import Glibc

/// A set of descriptors to wait on. poll(2)
public struct PollSet {
    private var entries: [pollfd] = []

    /// Creates an empty set.
    public init() {}

    /// Removes all descriptors, and keeps the memory for as many.
    public mutating func removeAll() {
        entries.removeAll(keepingCapacity: true)
    }

    /// Adds a descriptor and returns its index, for ``events(at:)``.
    ///
    /// The events are those of poll(2), such as POLLIN. With 0, only POLLHUP and POLLERR are reported, which always
    /// are.
    @discardableResult
    public mutating func add(_ number: CInt, _ events: CInt = CInt(POLLIN)) -> Int {
        entries.append(pollfd(fd: number, events: Int16(events), revents: 0))
        return entries.count - 1
    }

    /// Waits until something has happened or the deadline has passed; without a deadline, it waits without limit.
    ///
    /// Returns false if nothing happened. A signal does not start the time again.
    @discardableResult
    public mutating func wait(until deadline: Deadline? = nil) throws(Failure) -> Bool {
        while true {
            let milliseconds = deadline.map { CInt(clamping: $0.remaining) } ?? -1
            let ready = poll(&entries, nfds_t(entries.count), milliseconds)
            if ready >= 0 { return ready > 0 }
            let code = errno
            guard code == EINTR else { throw Failure("cannot wait for events", call: "poll", code: code) }
        }
    }

    /// Returns the events on the descriptor with this index.
    public func events(at index: Int) -> CInt {
        CInt(entries[index].revents)
    }

    /// Returns whether anything has happened on the descriptor with this index.
    public func isReady(_ index: Int) -> Bool {
        entries[index].revents != 0
    }
}

/// Waits for one descriptor; returns its events, or 0 if the deadline passed first.
public func wait(for number: CInt, _ events: CInt = CInt(POLLIN), until deadline: Deadline) throws(Failure) -> CInt {
    var set = PollSet()
    let index = set.add(number, events)
    try set.wait(until: deadline)
    return set.events(at: index)
}
