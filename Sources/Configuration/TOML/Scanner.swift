import Platform

/// The characters of a TOML document, from the first to the last: keys, strings, words, and what separates them.
struct Scanner {
    private let bytes: [UInt8]
    private let path: String
    private var offset = 0
    /// The line of the next character.
    private(set) var line = 1

    /// Starts at a document's beginning; errors call it `path`.
    init(_ bytes: [UInt8], path: String) throws(Failure) {
        self.bytes = bytes
        self.path = path
        guard String(validating: bytes, as: UTF8.self) != nil else {
            // Repairing puts other bytes where the first wrong one was.
            let good = zip(bytes, String(decoding: bytes, as: UTF8.self).utf8).prefix { $0 == $1 }
            line += good.count { $0.0 == UInt8(ascii: "\n") }
            throw refusal("it is not UTF-8")
        }
        skip("\u{FEFF}")
    }

    /// Whether nothing follows.
    var isAtEnd: Bool { offset == bytes.count }

    private var next: Unicode.Scalar? { isAtEnd ? nil : Unicode.Scalar(bytes[offset]) }

    /// What is wrong in a line, in this one unless another is given.
    func refusal(_ why: String, line: Int? = nil) -> Failure {
        Failure("cannot read \(path)", because: "line \(line ?? self.line): \(why)")
    }

    /// What is wrong with the next character.
    func unexpected(_ wanted: String) -> Failure {
        let found = String(decoding: bytes[offset...].prefix(4), as: UTF8.self).unicodeScalars.first
        switch found {
        case nil: return refusal("it ends where \(wanted) is missing")
        case "\n", "\r": return refusal("\(wanted) is missing at its end")
        case .some(let scalar): return refusal("\"\(scalar)\" stands where \(wanted) is missing")
        }
    }

    /// Whether this text follows.
    func follows(_ text: StaticString) -> Bool {
        text.withUTF8Buffer { bytes[offset...].starts(with: $0) }
    }

    /// Goes past this text where it follows, and tells whether it did.
    @discardableResult
    mutating func skip(_ text: StaticString) -> Bool {
        guard follows(text) else { return false }
        offset += text.utf8CodeUnitCount
        return true
    }

    /// Goes past blanks and tabs.
    mutating func skipBlanks() {
        while follows(" ") || follows("\t") { offset += 1 }
    }

    /// Goes past the end of a line, which blanks and a comment may precede; the end of the document is one.
    mutating func skipLineEnd() throws(Failure) {
        try skipComment()
        if isAtEnd { return }
        guard skip("\n") || skip("\r\n") else { throw unexpected("the end of the line") }
        line += 1
    }

    /// Goes past blanks, comments and ends of lines.
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

    /// A key, of several parts where it is dotted.
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

    /// Whether an ASCII character can be part of a key without quotes.
    static func isKeyCharacter(_ character: Unicode.Scalar) -> Bool {
        switch character {
        case "a"..."z", "A"..."Z", "0"..."9", "-", "_": true
        default: false
        }
    }

    /// The ASCII characters that follow and are part of a word.
    mutating func word(_ isPart: (Unicode.Scalar) -> Bool) -> String {
        let start = offset
        while let character = next, character.isASCII, isPart(character) { offset += 1 }
        return String(decoding: bytes[start..<offset], as: UTF8.self)
    }

    /// A string of one line, in either kind of quotes.
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

    /// The character that an escape sequence stands for, after its backslash.
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
            // Paths and names end there once they are C strings.
            guard value != 0 else { throw refusal("a string holds a zero character") }
            return Character(scalar)
        default: throw refusal("a string has an unknown escape sequence")
        }
    }
}
