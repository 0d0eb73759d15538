/// The string literals of a Swift file, with `…` for what is put into them.
///
/// It knows as much of Swift as our sources use: comments on lines of their own, escapes, interpolations with literals in
/// them, and literals of several lines.
struct StringLiterals {
    private(set) var all: [String] = []
    private var rest: Substring

    static func read(_ source: String) -> [String] {
        var literals = StringLiterals(rest: source[...])
        literals.readAll()
        return literals.all
    }

    private init(rest: Substring) { self.rest = rest }

    private mutating func readAll() {
        var isAtStart = true
        while let first = rest.first {
            if isAtStart, rest.hasPrefix("//") {
                rest = rest.drop { $0 != "\n" }
            } else if first == "\"" {
                all.append(readLiteral())
                isAtStart = false
            } else {
                isAtStart = first == "\n" || first == " " && isAtStart
                rest.removeFirst()
            }
        }
    }

    /// Reads a literal whose quotation mark is next.
    private mutating func readLiteral() -> String {
        let end = rest.hasPrefix("\"\"\"") ? "\"\"\"" : "\""
        rest.removeFirst(end.count)
        var text = ""
        while !rest.isEmpty, !rest.hasPrefix(end) {
            if rest.hasPrefix("\\(") {
                rest.removeFirst(2)
                skipInterpolation()
                text.append("…")
            } else if rest.hasPrefix("\\\n") {
                // The literal goes on in the next line, behind its blanks.
                rest = rest.dropFirst(2).drop { $0 == " " }
            } else {
                if rest.first == "\\" { rest.removeFirst() }
                if let character = rest.popFirst() { text.append(character) }
            }
        }
        rest = rest.dropFirst(end.count)
        return text
    }

    private mutating func skipInterpolation() {
        var depth = 1
        while depth > 0, let first = rest.first {
            if first == "\"" {
                _ = readLiteral()
                continue
            }
            if first == "(" { depth += 1 }
            if first == ")" { depth -= 1 }
            rest.removeFirst()
        }
    }
}
