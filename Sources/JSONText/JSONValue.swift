/// A value of a JSON text, and where in the text it stands. RFC 8259, section 3
public struct JSONValue: Equatable, Sendable {
    /// What a value is.
    public indirect enum Kind: Equatable, Sendable {
        /// The members in the order of the text; no two have the same name.
        case object([JSONMember])
        /// The elements in the order of the text.
        case array([JSONValue])
        /// The characters, without quotes and escape sequences. U+0000 may be among them.
        case string(String)
        /// The number as the text has it: no conversion has rounded it.
        case number(literal: String)
        case bool(Bool)
        case null
    }

    /// What the value is.
    public let kind: Kind
    /// The bytes of the value, without the white space around it.
    public let range: Range<Int>

    /// The characters of a string; nil if the value is none.
    public var string: String? {
        guard case .string(let text) = kind else { return nil }
        return text
    }

    /// The value of a number without fraction and exponent; nil if it is another or does not fit.
    public var integer: Int64? {
        guard case .number(let literal) = kind else { return nil }
        return Int64(literal)
    }

    /// Whether it is true; nil if the value is neither true nor false.
    public var bool: Bool? {
        guard case .bool(let value) = kind else { return nil }
        return value
    }

    /// The elements of an array; nil if the value is none.
    public var elements: [JSONValue]? {
        guard case .array(let elements) = kind else { return nil }
        return elements
    }

    /// The members of an object; nil if the value is none.
    public var members: [JSONMember]? {
        guard case .object(let members) = kind else { return nil }
        return members
    }

    /// The value of the member of this name; nil if there is none or the value is no object.
    public subscript(name: String) -> JSONValue? {
        // Two texts that Unicode takes for equivalent are two names: RFC 8259, section 8.3, compares code units.
        members?.first { $0.name.utf8.elementsEqual(name.utf8) }?.value
    }

    /// What kind of value it is, for errors.
    public var kindName: String {
        switch kind {
        case .object: "an object"
        case .array: "an array"
        case .string: "a string"
        case .number: "a number"
        case .bool: "true or false"
        case .null: "null"
        }
    }
}

/// A member of an object: its name, its value, and where the name stands.
public struct JSONMember: Equatable, Sendable {
    /// The name, without quotes and escape sequences.
    public let name: String
    /// The bytes of the name, with its quotes.
    public let nameRange: Range<Int>
    /// The value.
    public let value: JSONValue

    /// The bytes from the name's first quote to the value's end.
    var range: Range<Int> { nameRange.lowerBound..<value.range.upperBound }
}
