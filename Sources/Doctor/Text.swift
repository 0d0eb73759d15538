/// A look at single keys in a TOML file of an engine's.
///
/// It finds assignments of strings, words and lists of strings, in whatever table they are. It does not understand the
/// rest of the file, and so nothing in it is an error.
struct EngineSettings {
    private let lines: [String]

    init(_ text: String) {
        lines = text.split(separator: "\n").map { $0.trimmed }.filter { !$0.hasPrefix("#") }
    }

    /// Returns what is assigned to a key, one list for each assignment.
    func values(of key: String) -> [[String]] {
        lines.indices.compactMap { index in
            guard let value = Self.value(in: lines[index], of: key) else { return nil }
            guard value.hasPrefix("["), !value.contains("]") else { return Self.items(in: value) }
            // A list of several lines.
            let rest = lines[lines.index(after: index)...]
            let end = rest.firstIndex { $0.contains("]") } ?? rest.endIndex
            return Self.items(in: value + rest[..<end].joined() + (end < rest.endIndex ? rest[end] : ""))
        }
    }

    /// Returns the path of a runtime wrapper of ours that is assigned to a key; nil if there is none.
    func wrapper(of key: String) -> String? {
        values(of: key).compactMap { $0.first }.last { $0.split(separator: "/").last == "vtpm-runtime" }
    }

    /// Returns the last string or word that is assigned to a key.
    func value(of key: String) -> String? { values(of: key).last?.first }

    private static func value(in line: String, of key: String) -> String? {
        guard let sign = line.firstIndex(of: "=") else { return nil }
        let name = line[..<sign].trimmed.filter { $0 != "\"" && $0 != "'" }
        return name == key ? line[line.index(after: sign)...].trimmed : nil
    }

    /// Returns the strings in quotation marks; the word before a comment if there are none.
    private static func items(in value: String) -> [String] {
        var items: [String] = []
        var rest = value[...]
        while let start = rest.firstIndex(where: { $0 == "\"" || $0 == "'" }) {
            // What is in a comment is no value.
            if rest[..<start].contains("#") { break }
            let after = rest.index(after: start)
            guard let end = rest[after...].firstIndex(of: rest[start]) else { break }
            items.append(String(rest[after..<end]))
            rest = rest[rest.index(after: end)...]
        }
        if items.isEmpty, !value.hasPrefix("[") { return [value.prefix { $0 != "#" }.trimmed] }
        return items
    }
}
