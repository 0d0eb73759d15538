import Platform

/// A parser for TOML's grammar, with its rules on which tables and keys may be defined again.
struct DocumentParser {
    var scanner: Scanner

    /// The limit for the parts of a key, and for the depth of nested values.
    private static let depthLimit = 8

    init(scanner: Scanner) { self.scanner = scanner }

    mutating func document() throws(Failure) -> [String: Document.Entry] {
        let root = TableUnderConstruction(.header, line: 1)
        var current = root
        while true {
            try scanner.skipLines()
            if scanner.isAtEnd { return root.finished }
            if scanner.follows("[") {
                current = try header(root)
            } else {
                try assignment(in: current, depth: 0)
            }
            try scanner.skipLineEnd()
        }
    }

    /// `[a.b]`: opens a table, which no other header and no dotted key may have defined before.
    private mutating func header(_ root: TableUnderConstruction) throws(Failure) -> TableUnderConstruction {
        let line = scanner.line
        guard !scanner.follows("[[") else { throw scanner.refusal("it opens an array of tables, which no key takes") }
        scanner.skip("[")
        let path = try key()
        guard scanner.skip("]") else { throw scanner.unexpected("\"]\"") }
        var table = root
        for part in path.dropLast() {
            switch table.entries[part] {
            case nil: table = table.open(part, .implied, line)
            case .table(let inner) where inner.origin != .inline: table = inner
            case .some(let other): throw twice(part, other)
            }
        }
        let name = path[path.count - 1]
        switch table.entries[name] {
        case nil: return table.open(name, .header, line)
        case .table(let inner) where inner.origin == .implied:
            inner.origin = .header
            inner.line = line
            return inner
        case .some(let other): throw twice(name, other)
        }
    }

    /// `a.b = value`: the tables before the last part must not be inline tables or have headers of their own.
    private mutating func assignment(in table: TableUnderConstruction, depth: Int) throws(Failure) {
        let line = scanner.line
        let path = try key()
        guard scanner.skip("=") else { throw scanner.unexpected("\"=\"") }
        scanner.skipBlanks()
        var table = table
        for part in path.dropLast() {
            switch table.entries[part] {
            case nil: table = table.open(part, .dotted, line)
            case .table(let inner) where inner.origin == .dotted || inner.origin == .implied:
                if inner.origin == .implied { inner.line = line }
                inner.origin = .dotted
                table = inner
            case .some(let other): throw twice(part, other)
            }
        }
        let name = path[path.count - 1]
        if let other = table.entries[name] { throw twice(name, other) }
        table.entries[name] = try member(depth: depth, line)
    }

    private mutating func key() throws(Failure) -> [String] {
        let key = try scanner.key()
        guard key.count <= Self.depthLimit else { throw scanner.refusal("it has a key of too many parts") }
        return key
    }

    private func twice(_ name: String, _ other: TableUnderConstruction.Member) -> Failure {
        scanner.refusal("\"\(name.excerpt)\" is given already in line \(other.line)")
    }

    private mutating func member(depth: Int, _ line: Int) throws(Failure) -> TableUnderConstruction.Member {
        guard scanner.follows("{") else { return .value(Document.Entry(value: try value(depth: depth), line: line)) }
        return .table(try inlineTable(depth: depth + 1, line))
    }

    private mutating func value(depth: Int) throws(Failure) -> Document.Value {
        if scanner.follows("\"") || scanner.follows("'") { return .string(try scanner.string()) }
        if scanner.follows("[") { return .array(try array(depth: depth + 1)) }
        if scanner.follows("{") { return .table(try inlineTable(depth: depth + 1, scanner.line).finished) }
        let word = scanner.word { Scanner.isKeyCharacter($0) || $0 == "+" || $0 == "." || $0 == ":" }
        switch word {
        case "": throw scanner.unexpected("a value")
        case "true": return .boolean(true)
        case "false": return .boolean(false)
        default:
            guard let integer = integer(word) else {
                throw scanner.refusal(
                    "\"\(word.excerpt)\" is neither an integer nor true nor false, and a string needs quotes"
                )
            }
            return .integer(integer)
        }
    }

    /// Returns the value of an integer such as `0`, `-1_000` or `0x01807654`; nil if it is malformed.
    ///
    /// Underscores must be between digits, and a decimal number must not have leading zeros.
    private func integer(_ word: String) -> Int? {
        let radix = ["0x": 16, "0o": 8, "0b": 2][String(word.prefix(2))]
        let sign = radix == nil && (word.hasPrefix("-") || word.hasPrefix("+"))
        let digits = word.dropFirst(radix != nil ? 2 : sign ? 1 : 0)
        let groups = digits.split(separator: "_", omittingEmptySubsequences: false)
        guard groups.allSatisfy({ !$0.isEmpty && $0.allSatisfy(\.isHexDigit) }),
            radix != nil || digits == "0" || !digits.hasPrefix("0")
        else { return nil }
        return Int((word.hasPrefix("-") ? "-" : "") + groups.joined(), radix: radix ?? 10)
    }

    private mutating func array(depth: Int) throws(Failure) -> [Document.Value] {
        let line = scanner.line
        guard depth <= Self.depthLimit else { throw scanner.refusal("its values lie too deep in each other") }
        scanner.skip("[")
        var elements: [Document.Value] = []
        while true {
            try scanner.skipLines()
            if scanner.skip("]") { return elements }
            guard !scanner.isAtEnd else { throw scanner.refusal("an array is not closed", line: line) }
            elements.append(try value(depth: depth))
            try scanner.skipLines()
            if scanner.skip(",") || scanner.follows("]") { continue }
            guard !scanner.isAtEnd else { throw scanner.refusal("an array is not closed", line: line) }
            throw scanner.unexpected("\",\" or \"]\"")
        }
    }

    private mutating func inlineTable(depth: Int, _ line: Int) throws(Failure) -> TableUnderConstruction {
        guard depth <= Self.depthLimit else { throw scanner.refusal("its values lie too deep in each other") }
        scanner.skip("{")
        let table = TableUnderConstruction(.inline, line: line)
        scanner.skipBlanks()
        if scanner.skip("}") { return table }
        repeat {
            try assignment(in: table, depth: depth)
            scanner.skipBlanks()
        } while scanner.skip(",")
        guard scanner.skip("}") else { throw scanner.unexpected("\",\" or \"}\"") }
        return table
    }
}
