import Glibc
import Platform

/// What is counted of the log: totals since counting began, and where in the journal they end.
///
/// There are no names in it, so that no metric can have one.
public struct MetricTotals: Equatable, Sendable {
    /// The cursor of the last event that was counted.
    public var cursor: String?
    /// Containers that got their TPM.
    var starts: UInt64 = 0
    /// TPMs that were shut down in order, and others whose container has ended.
    var orderlyStops: UInt64 = 0
    var otherStops: UInt64 = 0
    /// Containers that did not start.
    var refusals: [FailureKind: UInt64] = [:]
    /// TPMs that failed while their containers lived.
    var failures: [FailureKind: UInt64] = [:]
    /// The writes of the states of TPMs that have ended.
    var writes = WriteTimes()

    /// Begins to count.
    public init() {}

    /// Counts the events of a batch.
    public mutating func count(_ batch: EventJournal.Batch) {
        for event in batch.events { count(event) }
        cursor = batch.cursor
    }

    private mutating func count(_ event: LoggedEvent) {
        let kind = FailureKind(word: event.fields.details.reason)
        switch (LogEvent(rawValue: event.fields.event), event.program) {
        case (.started, "vtpm-supervisor"): starts = starts.addingClamped(1)
        case (.stopped, "vtpm-supervisor"):
            if event.fields.details.reason == nil {
                orderlyStops = orderlyStops.addingClamped(1)
            } else {
                otherStops = otherStops.addingClamped(1)
            }
        case (.failed, "vtpm-supervisor"): failures[kind, default: 0].addClamped()
        // The supervisor tells its hook, which logs the same refusal.
        case (.refused, "vtpm-hook"): refusals[kind, default: 0].addClamped()
        default: return
        }
        if let more = event.fields.details.writes { writes.add(more) }
    }
}

extension UInt64 {
    fileprivate mutating func addClamped() { self = addingClamped(1) }
}

// MARK: - The file

extension MetricTotals {
    /// The standard path of the file that keeps the totals between two calls.
    public static let standardPath = "/var/lib/container-vtpm/metrics"
    private static let heading = "container-vtpm metrics 1"
    private static let sizeLimit = 65536

    /// The content of the file: a heading, and a line for each number.
    var encoded: String {
        var lines = [Self.heading]
        if let cursor { lines.append("cursor \(cursor)") }
        for (name, number) in Self.numbers { lines.append("\(name) \(self[keyPath: number])") }
        for kind in FailureKind.allCases {
            lines.append("refusals-\(kind.rawValue) \(refusals[kind] ?? 0)")
            lines.append("failures-\(kind.rawValue) \(failures[kind] ?? 0)")
        }
        return lines.joined(separator: "\n") + "\n"
    }

    private static var numbers: [(String, WritableKeyPath<MetricTotals, UInt64>)] {
        [
            ("starts", \.starts), ("stops-orderly", \.orderlyStops), ("stops-other", \.otherStops),
            ("writes", \.writes.count), ("writes-us", \.writes.total), ("longest-us", \.writes.longest),
        ]
    }

    /// Decodes ``encoded``; returns nil if it is damaged.
    init?(decoding text: String) {
        var lines = text.split(separator: "\n", omittingEmptySubsequences: false)[...]
        guard lines.popFirst().map(String.init) == Self.heading, lines.popLast() == "" else { return nil }
        for line in lines {
            let words = line.split(separator: " ", omittingEmptySubsequences: false)
            guard words.count == 2, read(String(words[0]), String(words[1])) else { return nil }
        }
    }

    private mutating func read(_ name: String, _ value: String) -> Bool {
        if name == "cursor" {
            cursor = value
            return EventJournal.isCursor(value)
        }
        guard let number = UInt64(value) else { return false }
        if let known = Self.numbers.first(where: { $0.0 == name }) {
            self[keyPath: known.1] = number
            return true
        }
        for kind in FailureKind.allCases {
            switch name {
            case "refusals-\(kind.rawValue)": refusals[kind] = number
            case "failures-\(kind.rawValue)": failures[kind] = number
            default: continue
            }
            return true
        }
        return false
    }

    /// Runs `body` with the totals in a file, and keeps what it makes of them; the numbers begin at 0 without the file.
    ///
    /// - Throws: ``Failure`` if another process counts at the same time, or if the file is damaged.
    public static func update(
        _ path: String,
        _ body: (inout MetricTotals) throws(Failure) -> Void
    ) throws(Failure) -> MetricTotals {
        let place = FilePlace(path)
        let directory = try openOwnDirectory(place.directory)
        let lock = try FileLock(
            directory: directory,
            until: Deadline(milliseconds: lockTimeout),
            "the directory of \(path)"
        )
        var totals = try read(path, place.name, in: directory)
        try body(&totals)
        try place.replace(Array(totals.encoded.utf8), mode: 0o600, in: directory)
        lock.release()
        return totals
    }

    /// How long to wait for another call, in milliseconds.
    private static let lockTimeout = 120_000

    private static func read(
        _ path: String,
        _ name: String,
        in directory: borrowing Descriptor
    ) throws(Failure) -> MetricTotals {
        let content: [UInt8]
        do {
            content = try Descriptor.openFile(name, .beneath(O_RDONLY), at: directory.number, as: path)
                .readAll(limit: sizeLimit, path)
        } catch let error where error.code == ENOENT {
            return MetricTotals()
        }
        guard let totals = MetricTotals(decoding: String(decoding: content, as: UTF8.self)) else {
            throw Failure(
                "cannot read \(path)",
                because: "it is damaged, or of a later version",
                hint: "remove it: the counters begin at 0 again"
            )
        }
        return totals
    }
}
