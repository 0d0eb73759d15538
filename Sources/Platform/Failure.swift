import Glibc

/// The one error type of this project: what could not be done, why, and what helps.
///
/// It prints as one line, `cannot <verb> <object>: <call>: <errno text>`, followed by the hint in parentheses if there
/// is one. It never contains a secret.
public struct Failure: Error, Equatable, Sendable, CustomStringConvertible {
    /// What could not be done, and to what: `cannot open /dev/vtpmx`.
    public let what: String
    /// Why: `open: Permission denied`, or a sentence of our own.
    public let why: String
    /// The `errno` of the system call that failed; nil if none did.
    public let code: CInt?
    /// The command or the change that helps; nil if there is none.
    public let hint: String?

    /// Creates a failure that this program explains in words of its own.
    public init(_ what: String, because why: String, code: CInt? = nil, hint: String? = nil) {
        self.what = what
        self.why = why
        self.code = code
        self.hint = hint
    }

    /// Creates the failure of a system call.
    public init(_ what: String, call: String, code: CInt, hint: String? = nil) {
        self.what = what
        self.why = "\(call): \(String(cString: strerror(code)))"
        self.code = code
        self.hint = hint
    }

    private init(what: String, why: String, code: CInt?, hint: String?) {
        self.what = what
        self.why = why
        self.code = code
        self.hint = hint
    }

    /// The largest part of another process's text that is kept, in bytes.
    public static let relayedLimit = 4096

    /// Creates a failure from the text of another process of this project.
    ///
    /// Somebody may have taken that process over. So only a bounded part of its text is kept, whatever bytes it has.
    public init(relayed bytes: some Collection<UInt8>) {
        // Each byte that is not UTF-8 becomes three bytes.
        let text = String(decoding: bytes.prefix(Self.relayedLimit), as: UTF8.self).cut(toBytes: Self.relayedLimit)
        self.init(relayed: text)
    }

    init(relayed text: String) {
        guard let colon = text.indices.first(where: { text[$0...].hasPrefix(": ") }) else {
            self.init("cannot keep the vTPM", because: text.isEmpty ? "no reason" : text)
            return
        }
        self.init(String(text[..<colon]), because: String(text[colon...].dropFirst(2)))
    }

    /// Returns the same failure with a hint.
    public func withHint(_ hint: String) -> Failure {
        Failure(what: what, why: why, code: code, hint: hint)
    }

    /// Why, and what helps: the rest of the line, for a text that names the object already.
    public var reason: String { (why + (hint.map { " (\($0))" } ?? "")).onOneLine }

    public var description: String { "\(what.onOneLine): \(reason)" }
}

extension String {
    /// Its first 64 Unicode scalars, for an error about a text that may be long.
    public var excerpt: String { String(unicodeScalars.prefix(64)) }

    /// Returns the whole Unicode scalars among its first `limit` bytes of UTF-8.
    public func cut(toBytes limit: Int) -> String {
        guard utf8.count > limit else { return self }
        var (size, end) = (0, unicodeScalars.startIndex)
        while end < unicodeScalars.endIndex {
            size += UTF8.width(unicodeScalars[end])
            guard size <= limit else { break }
            unicodeScalars.formIndex(after: &end)
        }
        return String(unicodeScalars[..<end])
    }

    /// The text on one line: each control character and each line separator is replaced by `?`.
    ///
    /// So an image or an annotation can neither break a log line in two nor control a terminal.
    public var onOneLine: String {
        String(
            String.UnicodeScalarView(
                unicodeScalars.map { scalar in
                    switch scalar.properties.generalCategory {
                    case .control, .format, .lineSeparator, .paragraphSeparator: "?"
                    default: scalar
                    }
                }
            )
        )
    }
}
