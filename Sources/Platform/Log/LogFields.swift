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

/// The fields at the end of a line: `[event=started container="web" state="site" tpm=1]`.
public struct LogFields: Equatable, Sendable {
    /// The word for the event; other versions may have other words.
    public let event: String
    /// The subject, with texts as ``value(_:)`` returns them.
    public let subject: LogSubject

    /// The largest value of a field, in bytes.
    public static let valueLimit = 512

    package init(_ event: LogEvent, _ subject: LogSubject = LogSubject()) {
        self.event = event.rawValue
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
        let bytes = Array(message)
        let beginning = Array("[event=".utf8)
        var start = bytes.count - beginning.count
        // No line of ours is longer; and anybody on the host may write lines.
        let first = max(bytes.count - LogConnection.lineLimit, 0)
        while start >= first {
            if bytes[start...].starts(with: beginning) {
                var parser = LogFieldParser(bytes[(start + 1)...])
                if let fields = parser.read() {
                    self = fields
                    return
                }
            }
            start -= 1
        }
        return nil
    }

    fileprivate init(event: String, subject: LogSubject) {
        self.event = event
        self.subject = subject
    }
}

/// Reads `name=value` pairs with a space between them, up to a bracket that ends the line.
private struct LogFieldParser {
    private var rest: ArraySlice<UInt8>

    init(_ bytes: ArraySlice<UInt8>) { rest = bytes }

    mutating func read() -> LogFields? {
        var event: String?
        var subject = LogSubject()
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
            // Of a later version.
            default: if name.isEmpty { return nil }
            }
        } while take(" ")
        guard take("]"), rest.isEmpty, let event else { return nil }
        return LogFields(event: event, subject: subject)
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
