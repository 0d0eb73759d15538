import Platform

/// A TOML document, with the line of each of its keys. https://toml.io/en/v1.0.0
///
/// TOML 1.0 but for what no key takes: strings of several lines, fractions, dates and arrays of tables are refused as
/// such, and so are keys of more than eight parts.
struct Document: Sendable {
    /// A value, or a table.
    indirect enum Value: Equatable, Sendable {
        case string(String)
        case integer(Int)
        case boolean(Bool)
        case array([Value])
        case table([String: Entry])

        /// What kind of value it is, for errors.
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

    /// What a key stands for, and the line where it is.
    struct Entry: Equatable, Sendable {
        var value: Value
        var line: Int
    }

    /// The document's own keys and tables.
    let root: [String: Entry]

    /// Parses a document; errors call it `path`, and name the line.
    init(parsing bytes: [UInt8], path: String) throws(Failure) {
        var parser = DocumentParser(scanner: try Scanner(bytes, path: path))
        self.root = try parser.document()
    }
}
