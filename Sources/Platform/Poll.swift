import CLinux
import Glibc

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

    /// Waits until something happened, or the deadline has passed; with none, without end.
    ///
    /// Returns false when nothing happened in that time. A signal does not begin the time anew.
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
    try set.wait(until: deadline)
    return set.events(at: index)
}
