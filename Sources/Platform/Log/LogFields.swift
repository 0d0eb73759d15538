/// The subject of a line of the log, as far as it is known: the fields beside the event. docs/log.md
public struct LogSubject: Equatable, Sendable {
    /// The container's ID.
    public var container: String?
    /// The state's ID; nil if the state is ephemeral.
    public var state: String?
    /// N of the host's `/dev/tpmN`.
    public var tpm: UInt32?

    /// Creates a subject from the parts that are known.
    public init(container: String? = nil, state: String? = nil, tpm: UInt32? = nil) {
        self.container = container
        self.state = state
        self.tpm = tpm
    }
}

/// An event in the life of a container's TPM.
///
/// docs/log.md has the meaning of each.
public enum LogEvent: String, CaseIterable, Sendable {
    case started
    case stopped
    case failed
    case refused
    case rekeyed
    case kept
    case removed
    case error
    case notice
}

/// What some events are told with, for programs that count them.
public struct LogDetails: Equatable, Sendable {
    /// The word for the kind of the error, a ``FailureKind``; other versions may have other words.
    public var reason: String?
    /// How long the vTPM's writes have taken.
    public var writes: WriteTimes?

    /// Creates the details of an event.
    public init(reason: FailureKind? = nil, writes: WriteTimes? = nil) {
        self.reason = reason?.rawValue
        self.writes = writes
    }
}

/// The fields at the end of a line: `[event=started container="web" state="site" tpm=1]`.
public struct LogFields: Equatable, Sendable {
    /// The word for the event; other versions may have other words.
    public let event: String
    /// The subject, with texts as ``value(_:)`` returns them.
    public let subject: LogSubject
    /// What the event is told with.
    public let details: LogDetails

    /// The largest value of a field, in bytes.
    public static let valueLimit = 512

    package init(_ event: LogEvent, _ subject: LogSubject = LogSubject(), _ details: LogDetails = LogDetails()) {
        self.event = event.rawValue
        self.details = details
        self.subject = LogSubject(
            container: subject.container.map(Self.value),
            state: subject.state.map(Self.value),
            tpm: subject.tpm
        )
    }

    /// Returns the value of a field for a text: one line, cut to ``valueLimit``.
    public static func value(_ text: String) -> String { text.onOneLine.cut(toBytes: valueLimit) }

    /// The fields in the form in which they end a line.
    package var text: String {
        var text = "[event=\(event)"
        if let container = subject.container { text += " container=\(Self.quoted(container))" }
        if let state = subject.state { text += " state=\(Self.quoted(state))" }
        if let tpm = subject.tpm { text += " tpm=\(tpm)" }
        if let reason = details.reason { text += " reason=\(reason)" }
        if let writes = details.writes {
            text += " writes=\(writes.count) writes-us=\(writes.total) longest-us=\(writes.longest)"
        }
        return text + "]"
    }

    private static func quoted(_ value: String) -> String {
        var quoted = "\""
        for scalar in value.unicodeScalars {
            if scalar == "\"" || scalar == "\\" { quoted.unicodeScalars.append("\\") }
            quoted.unicodeScalars.append(scalar)
        }
        return quoted + "\""
    }
}

// MARK: - Reading

extension LogFields {
    /// Reads the fields at the end of a message; returns nil if there are none.
    ///
    /// The text before them may look like fields, since images and annotations name what it is about. The fields begin
    /// at the last `[event=` from which they go on to the very end of the message. They cannot begin inside a value,
    /// because quotation marks in it are escaped.
    public init?(atEndOf message: some Collection<UInt8>) {
        guard let found = Self.find(Array(message)) else { return nil }
        self = found.fields
    }

    /// Reads the fields at the end of a message, and the sentence before them; returns nil if there are no fields.
    public static func split(_ message: some Collection<UInt8>) -> (sentence: String, fields: LogFields)? {
        let bytes = Array(message)
        guard let found = find(bytes) else { return nil }
        var sentence = bytes[..<found.start]
        if sentence.last == UInt8(ascii: " ") { sentence.removeLast() }
        return (String(decoding: sentence, as: UTF8.self), found.fields)
    }

    private static func find(_ bytes: [UInt8]) -> (start: Int, fields: LogFields)? {
        let beginning = Array("[event=".utf8)
        var start = bytes.count - beginning.count
        // No line of ours is longer; and anybody on the host may write lines.
        let first = max(bytes.count - LogConnection.lineLimit, 0)
        while start >= first {
            if bytes[start...].starts(with: beginning) {
                var parser = LogFieldParser(bytes[(start + 1)...])
                if let fields = parser.read() { return (start, fields) }
            }
            start -= 1
        }
        return nil
    }

    fileprivate init(event: String, subject: LogSubject, details: LogDetails) {
        self.event = event
        self.subject = subject
        self.details = details
    }
}

/// Reads `name=value` pairs with a space between them, up to a bracket that ends the line.
private struct LogFieldParser {
    private var rest: ArraySlice<UInt8>

    init(_ bytes: ArraySlice<UInt8>) { rest = bytes }

    mutating func read() -> LogFields? {
        var event: String?
        var subject = LogSubject()
        var details = LogDetails()
        var writes = [UInt64?](repeating: nil, count: 3)
        repeat {
            let name = word()
            guard take("=") else { return nil }
            let isQuoted = rest.first == UInt8(ascii: "\"")
            guard let value = isQuoted ? quoted() : word(), isQuoted || !value.isEmpty else { return nil }
            switch name {
            case "event": event = value
            case "container": subject.container = value
            case "state": subject.state = value
            case "tpm": subject.tpm = UInt32(value)
            case "reason": details.reason = value
            case "writes": writes[0] = UInt64(value)
            case "writes-us": writes[1] = UInt64(value)
            case "longest-us": writes[2] = UInt64(value)
            // Of a later version.
            default: if name.isEmpty { return nil }
            }
        } while take(" ")
        guard take("]"), rest.isEmpty, let event else { return nil }
        if let count = writes[0], let total = writes[1], let longest = writes[2] {
            details.writes = WriteTimes(count: count, total: total, longest: longest)
        }
        return LogFields(event: event, subject: subject, details: details)
    }

    private mutating func take(_ sign: Unicode.Scalar) -> Bool {
        guard rest.first == UInt8(ascii: sign) else { return false }
        rest.removeFirst()
        return true
    }

    /// Letters, digits and hyphens.
    private mutating func word() -> String {
        let word = rest.prefix {
            switch Unicode.Scalar($0) {
            case "a"..."z", "0"..."9", "-": true
            default: false
            }
        }
        rest = rest[word.endIndex...]
        return String(decoding: word, as: UTF8.self)
    }

    private mutating func quoted() -> String? {
        guard take("\"") else { return nil }
        var value: [UInt8] = []
        while let byte = rest.popFirst() {
            switch Unicode.Scalar(byte) {
            case "\"": return String(decoding: value, as: UTF8.self)
            case "\\":
                guard let escaped = rest.popFirst() else { return nil }
                value.append(escaped)
            default: value.append(byte)
            }
        }
        return nil
    }
}
