import Glibc

/// The one error of this project: what could not be done, to what, why, and what helps.
///
/// It prints as one line, `cannot <verb> <object>: <call>: <errno text>`, followed by the hint in brackets where
/// there is one. It never holds a secret.
public struct Failure: Error, Equatable, Sendable, CustomStringConvertible {
    /// What could not be done, and to what: `cannot open /dev/vtpmx`.
    public let what: String
    /// Why: `open: Permission denied`, or a sentence of our own.
    public let why: String
    /// The `errno` of the system call that failed, where one did.
    public let code: CInt?
    /// The command or the change that helps, where there is one.
    public let hint: String?

    /// A failure that no system call reported, or that tells in words of our own what one did.
    public init(_ what: String, because why: String, code: CInt? = nil, hint: String? = nil) {
        self.what = what
        self.why = why
        self.code = code
        self.hint = hint
    }

    /// A system call's failure.
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

    /// The most of another process's words that is taken over, in bytes.
    public static let relayedLimit = 4096

    /// A failure that another process of ours has put into words.
    ///
    /// The process may be in somebody else's hands: of what it says a bounded part is kept, whatever bytes it is made of.
    public init(relayed bytes: some Collection<UInt8>) {
        // A byte that is no UTF-8 becomes three.
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

    /// The same failure, with a hint.
    public func withHint(_ hint: String) -> Failure {
        Failure(what: what, why: why, code: code, hint: hint)
    }

    /// Why, and what helps: what is left of the line where the object is named already.
    public var reason: String { (why + (hint.map { " (\($0))" } ?? "")).onOneLine }

    public var description: String { "\(what.onOneLine): \(reason)" }
}

extension String {
    /// Its first 64 characters, for an error about something that may be long.
    public var excerpt: String { String(unicodeScalars.prefix(64)) }

    /// The whole characters among its first so many bytes.
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

    /// The text with every control character and line separator replaced by `?`, so that what an image or an
    /// annotation wrote can neither break a log line in two nor drive a terminal.
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
