import Platform
import TOMLText

/// A table of the document; errors about a key or the table give its line.
struct Section {
    private let file: String
    /// The components of the table's name, for example `key` and `next`; empty for the document itself.
    private let name: [String]
    private let line: Int
    private let entries: [String: Document.Entry]

    /// Takes the document's own table; throws if it has a key that is not known.
    init(of document: Document, file: String, known: [String]) throws(Failure) {
        try self.init(file, [], 1, document.root, known)
    }

    private init(
        _ file: String,
        _ name: [String],
        _ line: Int,
        _ entries: [String: Document.Entry],
        _ known: [String]
    ) throws(Failure) {
        self.file = file
        self.name = name
        self.line = line
        self.entries = entries
        let unknown = entries.filter { !known.contains($0.key) }
        guard let first = unknown.min(by: { ($0.value.line, $0.key) < ($1.value.line, $1.key) }) else { return }
        let list = known.joined(separator: ", ")
        throw refusal(
            of: first.key,
            name.isEmpty ? "is not known" : "is no key of [\(title)]",
            hint: name.isEmpty ? "known tables: \(list)" : "known keys of [\(title)]: \(list)"
        )
    }

    private var title: String { name.joined(separator: ".") }

    /// Returns whether the table has this key.
    func gives(_ key: String) -> Bool { entries[key] != nil }

    /// Returns whether the table has this key with an integer as its value.
    func holdsInteger(_ key: String) -> Bool {
        if case .integer = entries[key]?.value { true } else { false }
    }

    /// Returns a table below this one; nil if the key is missing.
    ///
    /// Throws if the table has a key that is not known.
    func section(_ key: String, known: [String]) throws(Failure) -> Section? {
        guard let entry = entries[key] else { return nil }
        guard case .table(let contents) = entry.value else { throw wrongType(of: key, entry.value, "a table") }
        return try Section(file, name + [key], entry.line, contents, known)
    }

    /// Returns a string; nil if the key is missing.
    func string(_ key: String) throws(Failure) -> String? {
        guard let value = entries[key]?.value else { return nil }
        guard case .string(let string) = value else { throw wrongType(of: key, value, "a string") }
        return string
    }

    /// Returns an absolute path; nil if the key is missing.
    func path(_ key: String) throws(Failure) -> String? {
        guard let path = try string(key) else { return nil }
        try checkPath(path, key)
        return path
    }

    /// Returns the strings of an array; nil if the key is missing.
    func strings(_ key: String) throws(Failure) -> [String]? {
        guard let value = entries[key]?.value else { return nil }
        guard case .array(let elements) = value else { throw wrongType(of: key, value, "an array of strings") }
        var words: [String] = []
        for element in elements {
            guard case .string(let word) = element else {
                throw refusal(of: key, "must be an array of strings, and holds \(element.kind)")
            }
            words.append(word)
        }
        return words
    }

    /// Returns a program's absolute path and its arguments; nil if the key is missing.
    func command(_ key: String) throws(Failure) -> [String]? {
        guard let words = try strings(key) else { return nil }
        guard let program = words.first else { throw refusal(of: key, "must name a program") }
        try checkPath(program, key)
        return words
    }

    /// Returns an integer; nil if the key is missing.
    ///
    /// Throws if it is out of the range, which the error shows in the radix.
    func integer(_ key: String, in range: ClosedRange<Int>, radix: Int = 10) throws(Failure) -> Int? {
        guard let value = entries[key]?.value else { return nil }
        guard case .integer(let number) = value else { throw wrongType(of: key, value, "an integer") }
        guard range.contains(number) else {
            let (low, high) = (String(range.lowerBound, radix: radix), String(range.upperBound, radix: radix))
            let prefix = radix == 16 ? "0x" : ""
            throw refusal(of: key, "must be \(prefix)\(low) to \(prefix)\(high)")
        }
        return number
    }

    /// Returns a boolean; nil if the key is missing.
    func boolean(_ key: String) throws(Failure) -> Bool? {
        guard let value = entries[key]?.value else { return nil }
        guard case .boolean(let boolean) = value else { throw wrongType(of: key, value, "true or false") }
        return boolean
    }

    /// Returns one of several words; nil if the key is missing.
    func choice<Choice: RawRepresentable & CaseIterable>(
        _ key: String,
        _ type: Choice.Type = Choice.self
    ) throws(Failure) -> Choice? where Choice.RawValue == String {
        guard let word = try string(key) else { return nil }
        guard let choice = Choice(rawValue: word) else {
            let known = Choice.allCases.map { "\"\($0.rawValue)\"" }.joined(separator: ", ")
            throw refusal(of: key, "cannot be \"\(word.excerpt)\"", hint: "known: \(known)")
        }
        return choice
    }

    /// Returns the error about a key, with its line; with that of the table if the key is missing.
    func refusal(of key: String, _ why: String, hint: String? = nil) -> Failure {
        let place = entries[key]?.line ?? line
        return Failure("cannot read \(file)", because: "line \(place): \"\(key.excerpt)\" \(why)", hint: hint)
    }

    /// Returns the error about the table as a whole, with its line.
    func refusal(_ why: String, hint: String? = nil) -> Failure {
        Failure("cannot read \(file)", because: "line \(line): [\(title)] \(why)", hint: hint)
    }

    private func wrongType(of key: String, _ value: Document.Value, _ wanted: String) -> Failure {
        refusal(of: key, "must be \(wanted), not \(value.kind)")
    }

    private func checkPath(_ path: String, _ key: String) throws(Failure) {
        // PATH_MAX (4096) includes the terminating null byte.
        guard path.utf8.starts(with: "/".utf8), path.utf8.last != UInt8(ascii: "/"), path.utf8.count < 4096 else {
            throw refusal(of: key, "must be an absolute path")
        }
    }
}
