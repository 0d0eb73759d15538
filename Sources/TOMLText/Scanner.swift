import Platform

/// A scanner that reads a TOML document from start to end: keys, strings, words and separators.
struct Scanner {
    private let bytes: [UInt8]
    private let path: String
    /// The offset of the next byte.
    private(set) var offset = 0
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

    /// Whether a blank and then a digit come next.
    var digitFollowsBlank: Bool {
        follows(" ") && offset + 1 < bytes.count
            && (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(bytes[offset + 1])
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
                parts.append(try keyString())
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

    /// Reads a string that is part of a key: of one line, basic or literal.
    mutating func keyString() throws(Failure) -> String {
        guard !follows("\"\"\""), !follows("'''") else { throw refusal("a key is a string of several lines") }
        return try string()
    }

    /// Reads a string, basic or literal, of one line or of several.
    mutating func string() throws(Failure) -> String {
        let isLiteral = follows("'")
        let isLong = follows("\"\"\"") || follows("'''")
        let quote: Unicode.Scalar = isLiteral ? "'" : "\""
        let start = line
        offset += isLong ? 3 : 1
        if isLong { skipLineFeed() }
        var text: [UInt8] = []
        while let character = next, character != quote || isLong {
            if character == quote, let count = closingQuotes(quote) {
                text.append(contentsOf: [UInt8](repeating: UInt8(ascii: quote), count: count - 3))
                offset += count
                return String(decoding: text, as: UTF8.self)
            }
            if follows("\n") || follows("\r\n") {
                guard isLong else { break }
                // A parser may take each end of a line for the same one.
                text.append(UInt8(ascii: "\n"))
                skipLineFeed()
                continue
            }
            try refuseControl(character)
            offset += 1
            guard character == "\\", !isLiteral else {
                text.append(bytes[offset - 1])
                continue
            }
            if isLong, skipEscapedLineEnd() { continue }
            text.append(contentsOf: String(try escaped()).utf8)
        }
        guard !isAtEnd, next == quote, !isLong else {
            throw refusal("a string is not closed", line: isLong ? start : nil)
        }
        offset += 1
        return String(decoding: text, as: UTF8.self)
    }

    /// Returns how many quotes come next where they end a string of several lines, of which up to two are its own.
    private func closingQuotes(_ quote: Unicode.Scalar) -> Int? {
        let count = bytes[offset...].prefix(5).prefix { $0 == UInt8(ascii: quote) }.count
        return count >= 3 ? count : nil
    }

    /// Skips a line feed if it comes next; returns whether it did.
    @discardableResult
    private mutating func skipLineFeed() -> Bool {
        guard skip("\n") || skip("\r\n") else { return false }
        line += 1
        return true
    }

    /// Skips all blanks and line feeds if the backslash before them is the last of its line.
    private mutating func skipEscapedLineEnd() -> Bool {
        let start = offset
        skipBlanks()
        guard skipLineFeed() else {
            offset = start
            return false
        }
        repeat { skipBlanks() } while skipLineFeed()
        return true
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
