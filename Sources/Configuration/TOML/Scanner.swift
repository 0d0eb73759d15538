import Platform

/// A scanner that reads a TOML document from start to end: keys, strings, words and separators.
struct Scanner {
    private let bytes: [UInt8]
    private let path: String
    private var offset = 0
    /// The line of the next character, from 1 on.
    private(set) var line = 1

    /// Starts at a document's beginning, after a byte order mark; errors call it `path`.
    ///
    /// Throws if the document is not UTF-8.
    init(_ bytes: [UInt8], path: String) throws(Failure) {
        self.bytes = bytes
        self.path = path
        guard String(validating: bytes, as: UTF8.self) != nil else {
            // Decoding replaces invalid bytes, so the first difference is the first invalid byte.
            let good = zip(bytes, String(decoding: bytes, as: UTF8.self).utf8).prefix { $0 == $1 }
            line += good.count { $0.0 == UInt8(ascii: "\n") }
            throw refusal("it is not UTF-8")
        }
        skip("\u{FEFF}")
    }

    /// Whether the document ends here.
    var isAtEnd: Bool { offset == bytes.count }

    private var next: Unicode.Scalar? { isAtEnd ? nil : Unicode.Scalar(bytes[offset]) }

    /// Returns the error about a line; about the current one if none is given.
    func refusal(_ why: String, line: Int? = nil) -> Failure {
        Failure("cannot read \(path)", because: "line \(line ?? self.line): \(why)")
    }

    /// Returns the error that the next character is not the wanted one.
    func unexpected(_ wanted: String) -> Failure {
        let found = String(decoding: bytes[offset...].prefix(4), as: UTF8.self).unicodeScalars.first
        switch found {
        case nil: return refusal("it ends where \(wanted) is missing")
        case "\n", "\r": return refusal("\(wanted) is missing at its end")
        case .some(let scalar): return refusal("\"\(scalar)\" stands where \(wanted) is missing")
        }
    }

    /// Returns whether this text comes next.
    func follows(_ text: StaticString) -> Bool {
        text.withUTF8Buffer { bytes[offset...].starts(with: $0) }
    }

    /// Skips this text if it comes next; returns whether it did.
    @discardableResult
    mutating func skip(_ text: StaticString) -> Bool {
        guard follows(text) else { return false }
        offset += text.utf8CodeUnitCount
        return true
    }

    /// Skips spaces and tabs.
    mutating func skipBlanks() {
        while follows(" ") || follows("\t") { offset += 1 }
    }

    /// Skips the end of a line, with blanks and a comment before it; the end of the document counts as one.
    mutating func skipLineEnd() throws(Failure) {
        try skipComment()
        if isAtEnd { return }
        guard skip("\n") || skip("\r\n") else { throw unexpected("the end of the line") }
        line += 1
    }

    /// Skips blanks, comments and line ends.
    mutating func skipLines() throws(Failure) {
        while true {
            try skipComment()
            guard follows("\n") || follows("\r\n") else { return }
            try skipLineEnd()
        }
    }

    private mutating func skipComment() throws(Failure) {
        skipBlanks()
        guard skip("#") else { return }
        while let character = next, !follows("\n"), !follows("\r\n") {
            try refuseControl(character)
            offset += 1
        }
    }

    private func refuseControl(_ character: Unicode.Scalar) throws(Failure) {
        if character != "\t", character.value < 0x20 || character.value == 0x7f {
            throw refusal("it holds a control character")
        }
    }

    /// Reads a key; returns its parts, of which a dotted key has several.
    mutating func key() throws(Failure) -> [String] {
        var parts: [String] = []
        repeat {
            skipBlanks()
            if follows("\"") || follows("'") {
                parts.append(try string())
            } else {
                let part = word(Self.isKeyCharacter)
                guard !part.isEmpty else { throw unexpected("a key") }
                parts.append(part)
            }
            skipBlanks()
        } while skip(".")
        return parts
    }

    /// Returns whether an ASCII character may be part of a key without quotes.
    static func isKeyCharacter(_ character: Unicode.Scalar) -> Bool {
        switch character {
        case "a"..."z", "A"..."Z", "0"..."9", "-", "_": true
        default: false
        }
    }

    /// Reads ASCII characters for as long as they are part of a word; returns "" if the first is not.
    mutating func word(_ isPart: (Unicode.Scalar) -> Bool) -> String {
        let start = offset
        while let character = next, character.isASCII, isPart(character) { offset += 1 }
        return String(decoding: bytes[start..<offset], as: UTF8.self)
    }

    /// Reads a single-line string, basic or literal.
    mutating func string() throws(Failure) -> String {
        guard !follows("\"\"\""), !follows("'''") else {
            throw refusal("it holds a string of several lines, which no key takes")
        }
        let isLiteral = follows("'")
        let quote: Unicode.Scalar = isLiteral ? "'" : "\""
        offset += 1
        var text: [UInt8] = []
        while let character = next, character != quote {
            guard !follows("\n"), !follows("\r\n") else { break }
            try refuseControl(character)
            offset += 1
            if character == "\\", !isLiteral {
                text.append(contentsOf: String(try escaped()).utf8)
            } else {
                text.append(bytes[offset - 1])
            }
        }
        guard !isAtEnd, next == quote else { throw refusal("a string is not closed") }
        offset += 1
        return String(decoding: text, as: UTF8.self)
    }

    /// Reads an escape sequence after its backslash; returns the character that it stands for.
    private mutating func escaped() throws(Failure) -> Character {
        let name = next
        if !isAtEnd { offset += 1 }
        switch name {
        case "b": return "\u{8}"
        case "t": return "\t"
        case "n": return "\n"
        case "f": return "\u{c}"
        case "r": return "\r"
        case "\"": return "\""
        case "\\": return "\\"
        case "u", "U":
            let count = name == "u" ? 4 : 8
            var digits = ""
            while digits.utf8.count < count, let digit = next, digit.properties.isASCIIHexDigit {
                digits.unicodeScalars.append(digit)
                offset += 1
            }
            guard digits.utf8.count == count, let value = UInt32(digits, radix: 16),
                let scalar = Unicode.Scalar(value)
            else { throw refusal("a string has an escape sequence that is no character") }
            // As a C string, a path or name would end there.
            guard value != 0 else { throw refusal("a string holds a zero character") }
            return Character(scalar)
        default: throw refusal("a string has an unknown escape sequence")
        }
    }
}
