import JSONText

/// A JSON value that is written in one way only. RFC 8785
///
/// Of numbers it has those integers that each JSON library keeps exactly.
public indirect enum CanonicalJSON: Equatable, Sendable {
    /// The members, no two with the same name, in any order.
    case object([Member])
    /// The elements in their order.
    case array([CanonicalJSON])
    /// Characters.
    case string(String)
    /// An integer in ``integers``.
    case integer(Int64)
    /// True or false.
    case bool(Bool)
    /// Nothing.
    case null

    /// A member of an object.
    public struct Member: Equatable, Sendable {
        let name: String
        let value: CanonicalJSON

        /// Creates a member.
        public init(_ name: String, _ value: CanonicalJSON) {
            self.name = name
            self.value = value
        }
    }

    /// The integers that a double has exactly, with none beside them that it takes for the same. RFC 7493, 2.2
    public static let integers: ClosedRange<Int64> = -0x1f_ffff_ffff_ffff...0x1f_ffff_ffff_ffff

    /// Creates an object of those members that have a value.
    package static func members(_ members: KeyValuePairs<String, CanonicalJSON?>) -> CanonicalJSON {
        .object(members.compactMap { name, value in value.map { Member(name, $0) } })
    }

    /// Creates an array of strings.
    static func strings(_ strings: [String]) -> CanonicalJSON { .array(strings.map { .string($0) }) }

    /// Takes over a value of any text, of which no two become the same.
    ///
    /// A number that is no such integer becomes an object `{"number":"…"}` with its digits, and an object that looks like that
    /// one, or like this, `{"object":{…}}`.
    public init(measured value: JSONValue) {
        switch value.kind {
        case .object(let members):
            let object = CanonicalJSON.object(members.map { Member($0.name, CanonicalJSON(measured: $0.value)) })
            let looksLikeOurs = members.count == 1 && ["number", "object"].contains { members[0].name.isSame(as: $0) }
            self = looksLikeOurs ? .object([Member("object", object)]) : object
        case .array(let elements): self = .array(elements.map { CanonicalJSON(measured: $0) })
        case .string(let text): self = .string(text)
        case .number(let literal): self = .number(literal)
        case .bool(let value): self = .bool(value)
        case .null: self = .null
        }
    }

    /// Takes over a value of a statement, in which each number is such an integer.
    public init(_ value: JSONValue) {
        switch value.kind {
        case .object(let members): self = .object(members.map { Member($0.name, CanonicalJSON($0.value)) })
        case .array(let elements): self = .array(elements.map { CanonicalJSON($0) })
        case .string(let text): self = .string(text)
        case .number(let literal): self = .number(literal)
        case .bool(let value): self = .bool(value)
        case .null: self = .null
        }
    }

    /// A number as JSON writes it.
    private static func number(_ literal: String) -> CanonicalJSON {
        guard let value = Int64(literal), integers.contains(value), "\(value)" == literal else {
            return .object([Member("number", .string(literal))])
        }
        return .integer(value)
    }

    /// The text, in UTF-8.
    public var bytes: [UInt8] {
        var text: [UInt8] = []
        write(to: &text)
        return text
    }

    private func write(to text: inout [UInt8]) {
        switch self {
        case .object(let members):
            text.append(UInt8(ascii: "{"))
            // RFC 8785, 3.2.3: by the names' UTF-16 code units.
            let sorted = members.sorted { $0.name.utf16.lexicographicallyPrecedes($1.name.utf16) }
            for (index, member) in sorted.enumerated() {
                if index > 0 { text.append(UInt8(ascii: ",")) }
                Self.write(member.name, to: &text)
                text.append(UInt8(ascii: ":"))
                member.value.write(to: &text)
            }
            text.append(UInt8(ascii: "}"))
        case .array(let elements):
            text.append(UInt8(ascii: "["))
            for (index, element) in elements.enumerated() {
                if index > 0 { text.append(UInt8(ascii: ",")) }
                element.write(to: &text)
            }
            text.append(UInt8(ascii: "]"))
        case .string(let string): Self.write(string, to: &text)
        case .integer(let value): text.append(contentsOf: "\(value)".utf8)
        case .bool(let value): text.append(contentsOf: (value ? "true" : "false").utf8)
        case .null: text.append(contentsOf: "null".utf8)
        }
    }

    /// Writes a string with the escape sequences that it needs, and no others. RFC 8785, 3.2.2.2
    private static func write(_ string: String, to text: inout [UInt8]) {
        text.append(UInt8(ascii: "\""))
        for byte in string.utf8 {
            switch byte {
            case UInt8(ascii: "\""), UInt8(ascii: "\\"): text += [UInt8(ascii: "\\"), byte]
            case 0x08: text.append(contentsOf: "\\b".utf8)
            case 0x09: text.append(contentsOf: "\\t".utf8)
            case 0x0a: text.append(contentsOf: "\\n".utf8)
            case 0x0c: text.append(contentsOf: "\\f".utf8)
            case 0x0d: text.append(contentsOf: "\\r".utf8)
            case 0..<0x20:
                let digits = String(byte, radix: 16)
                text.append(contentsOf: "\\u00\(byte < 16 ? "0" : "")\(digits)".utf8)
            default: text.append(byte)
            }
        }
        text.append(UInt8(ascii: "\""))
    }
}
