import Platform

/// A parser for TOML's grammar, with its rules on which tables and keys may be defined again.
struct DocumentParser {
    var scanner: Scanner
    /// Where what was read so far stands.
    private(set) var places = Places()
    /// The keys of the table that is being read; nil in an array of tables.
    private var tablePath: [String]? = []

    /// The limit for the parts of a key, and for the depth of nested values.
    private static let depthLimit = 8

    init(scanner: Scanner) { self.scanner = scanner }

    mutating func document() throws(Failure) -> [String: Document.Entry] {
        let root = TableUnderConstruction(.header, line: 1)
        var current = root
        while true {
            try scanner.skipLines()
            if scanner.isAtEnd { return root.finished }
            let isHeader = scanner.follows("[")
            if isHeader {
                current = try scanner.follows("[[") ? element(root) : header(root)
            } else {
                try assignment(in: current, depth: 0)
            }
            try scanner.skipLineEnd()
            if isHeader, let tablePath { places.headers[tablePath] = scanner.offset }
        }
    }

    /// `[a.b]`: opens a table, which no other header and no dotted key may have defined before.
    private mutating func header(_ root: TableUnderConstruction) throws(Failure) -> TableUnderConstruction {
        let line = scanner.line
        scanner.skip("[")
        let path = try key()
        guard scanner.skip("]") else { throw scanner.unexpected("\"]\"") }
        let (table, isInArray) = try parent(of: path, in: root, line)
        tablePath = isInArray ? nil : path
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

    /// `[[a.b]]`: opens another element of an array of tables.
    private mutating func element(_ root: TableUnderConstruction) throws(Failure) -> TableUnderConstruction {
        let line = scanner.line
        scanner.skip("[[")
        let path = try key()
        guard scanner.skip("]]") else { throw scanner.unexpected("\"]]\"") }
        let (table, _) = try parent(of: path, in: root, line)
        tablePath = nil
        let name = path[path.count - 1]
        let element = TableUnderConstruction(.header, line: line)
        switch table.entries[name] {
        case nil: table.entries[name] = .tables([element])
        case .tables(let others): table.entries[name] = .tables(others + [element])
        case .some(let other): throw twice(name, other)
        }
        return element
    }

    /// Returns the table that the header's last part belongs to, and whether an array of tables is on the way.
    private func parent(
        of path: [String],
        in root: TableUnderConstruction,
        _ line: Int
    ) throws(Failure) -> (TableUnderConstruction, isInArray: Bool) {
        var table = root
        var isInArray = false
        for part in path.dropLast() {
            switch table.entries[part] {
            case nil: table = table.open(part, .implied, line)
            case .table(let inner) where inner.origin != .inline: table = inner
            case .tables(let elements):
                guard let last = elements.last else { throw scanner.refusal("an array of tables is empty") }
                (table, isInArray) = (last, true)
            case .some(let other): throw twice(part, other)
            }
        }
        return (table, isInArray)
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
        let start = scanner.offset
        table.entries[name] = try member(depth: depth, line)
        if depth == 0, let tablePath { places.values[tablePath + path] = start..<scanner.offset }
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
        let word = valueWord()
        switch word {
        case "": throw scanner.unexpected("a value")
        case "true": return .boolean(true)
        case "false": return .boolean(false)
        default: break
        }
        if let integer = Word.integer(word) { return .integer(integer) }
        if Word.isFloat(word) { return .float(literal: word) }
        if Word.isTime(word) { return .time(literal: word) }
        throw scanner.refusal("\"\(word.excerpt)\" is neither an integer nor true nor false, and a string needs quotes")
    }

    /// Reads a word that is a value.
    ///
    /// A time may follow a date after a blank.
    private mutating func valueWord() -> String {
        let isPart = { (character: Unicode.Scalar) in
            Scanner.isKeyCharacter(character) || character == "+" || character == "." || character == ":"
        }
        let word = scanner.word(isPart)
        guard Word.isDate(word), scanner.digitFollowsBlank else { return word }
        scanner.skip(" ")
        return word + " " + scanner.word(isPart)
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
