import Platform

/// A TOML document, with the line of each of its keys. https://toml.io/en/v1.0.0
///
/// All of TOML 1.0 except for types that no key uses: multi-line strings, floats, dates and arrays of tables are
/// errors. So are keys of more than eight parts, and arrays and inline tables that are nested more than eight deep.
struct Document: Sendable {
    /// A value, or a table.
    indirect enum Value: Equatable, Sendable {
        case string(String)
        case integer(Int)
        case boolean(Bool)
        case array([Value])
        case table([String: Entry])

        /// The type of the value, for errors.
        var kind: String {
            switch self {
            case .string: "a string"
            case .integer: "an integer"
            case .boolean: "true or false"
            case .array: "an array"
            case .table: "a table"
            }
        }
    }

    /// The value of a key, and the line of the key.
    struct Entry: Equatable, Sendable {
        var value: Value
        var line: Int
    }

    /// The document's own keys and tables.
    let root: [String: Entry]

    /// Parses a document; errors call it `path` and give the line.
    init(parsing bytes: [UInt8], path: String) throws(Failure) {
        var parser = DocumentParser(scanner: try Scanner(bytes, path: path))
        self.root = try parser.document()
    }
}
