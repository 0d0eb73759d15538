import Platform

/// A JSON text whose values know where they stand, so that an edit leaves all other bytes as they are.
///
/// It takes RFC 8259 strictly. A byte order mark, a member name that occurs twice in an object, half of a surrogate
/// pair, and anything after the value are errors; so are values that lie more than 128 deep in each other.
public struct JSONText: Sendable {
    /// The text, in UTF-8.
    public let bytes: [UInt8]
    /// The value that the text holds.
    public let root: JSONValue
    let path: String
    let limit: Int

    /// Parses a text of at most `limit` bytes.
    ///
    /// Errors call the text `path` and give the line. They hold no value of the text, as that may be a secret.
    public init(parsing bytes: [UInt8], path: String, limit: Int) throws(Failure) {
        guard bytes.count <= limit else {
            throw Failure("cannot read \(path)", because: "it is larger than \(limit) bytes")
        }
        var parser = JSONParser(bytes, path: path)
        self.root = try parser.text()
        self.bytes = bytes
        self.path = path
        self.limit = limit
    }

    /// Returns the value that these member names lead to, from the root on; nil if there is none.
    public func value(at names: [String]) -> JSONValue? {
        var value = root
        for name in names {
            guard let next = value[name] else { return nil }
            value = next
        }
        return value
    }

    /// Returns a JSON string with these characters: quotes, and escape sequences where they are needed.
    public static func quoted(_ text: String) -> String {
        var quoted = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": quoted += "\\\""
            case "\\": quoted += "\\\\"
            case "\n": quoted += "\\n"
            case "\r": quoted += "\\r"
            case "\t": quoted += "\\t"
            case "\u{0}"..<"\u{20}", "\u{7f}":
                let digits = String(scalar.value, radix: 16)
                quoted += "\\u" + String(repeating: "0", count: 4 - digits.utf8.count) + digits
            default: quoted.unicodeScalars.append(scalar)
            }
        }
        return quoted + "\""
    }
}
