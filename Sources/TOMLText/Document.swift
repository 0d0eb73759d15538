import Platform

/// A TOML document, with the line of each of its keys. https://toml.io/en/v1.0.0
///
/// Keys of more than eight parts, and arrays and inline tables that are nested more than eight deep, are errors; so are
/// strings with a zero character, and integers of more than 64 bits.
public struct Document: Sendable {
    /// A value, or a table.
    public indirect enum Value: Equatable, Sendable {
        case string(String)
        case integer(Int)
        case boolean(Bool)
        /// A number with a fraction or an exponent, infinity, or no number, as the document has it.
        case float(literal: String)
        /// A date, a time, or both, as the document has it.
        case time(literal: String)
        /// The elements in order; an array of tables is one of these.
        case array([Value])
        case table([String: Entry])

        /// The type of the value, for errors.
        public var kind: String {
            switch self {
            case .string: "a string"
            case .integer: "an integer"
            case .boolean: "true or false"
            case .float: "a floating-point number"
            case .time: "a date or a time"
            case .array: "an array"
            case .table: "a table"
            }
        }
    }

    /// The value of a key, and the line of the key.
    public struct Entry: Equatable, Sendable {
        /// The value.
        public var value: Value
        /// The line of the key, or of the table's header, from 1 on.
        public var line: Int

        /// Creates an entry.
        public init(value: Value, line: Int) {
            self.value = value
            self.line = line
        }
    }

    /// The document's own keys and tables.
    public let root: [String: Entry]
    /// Where what can be edited stands.
    let places: Places

    /// Parses a document; errors call it `path` and give the line.
    public init(parsing bytes: [UInt8], path: String) throws(Failure) {
        var parser = DocumentParser(scanner: try Scanner(bytes, path: path))
        self.root = try parser.document()
        self.places = parser.places
    }

    /// Returns the value that these keys lead to, through tables alone; nil if there is none.
    public func value(at keys: [String]) -> Value? {
        var value = Value.table(root)
        for key in keys {
            guard case .table(let entries) = value, let entry = entries[key] else { return nil }
            value = entry.value
        }
        return value
    }

    /// Returns the bytes of the value that these keys lead to; nil if it is in an inline table or an array of tables,
    /// or no value.
    public func range(ofValueAt keys: [String]) -> Range<Int>? { places.values[keys] }

    /// Returns the offset of the line after a table's header; nil if it has none or is in an array of tables.
    public func contentOffset(ofTableAt keys: [String]) -> Int? { places.headers[keys] }
}

/// Where the values and headers of a document stand, by their keys.
struct Places: Sendable {
    /// The bytes of values outside of inline tables and arrays of tables.
    var values: [[String]: Range<Int>] = [:]
    /// The offsets of the lines after the headers of tables.
    var headers: [[String]: Int] = [:]
}
