import Platform

/// A parser for JSON's grammar. RFC 8259, sections 2 to 7
struct JSONParser {
    private let bytes: [UInt8]
    private let path: String
    private var offset = 0

    /// The limit for the depth of nested values, which bounds the parser's own recursion too.
    static let depthLimit = 128

    init(_ bytes: [UInt8], path: String) {
        self.bytes = bytes
        self.path = path
    }

    /// Parses the whole text.
    mutating func text() throws(Failure) -> JSONValue {
        guard String(validating: bytes, as: UTF8.self) != nil else {
            // Decoding replaces invalid bytes, so the first difference is the first invalid byte.
            offset = zip(bytes, String(decoding: bytes, as: UTF8.self).utf8).prefix { $0 == $1 }.count
            throw refusal("it is not UTF-8")
        }
        skipSpace()
        let value = try value(depth: 0)
        skipSpace()
        guard offset == bytes.count else { throw refusal("something follows the value") }
        return value
    }

    private func refusal(_ why: String) -> Failure {
        let line = 1 + bytes.prefix(offset).count { $0 == UInt8(ascii: "\n") }
        return Failure("cannot read \(path)", because: "line \(line): \(why)")
    }

    private var next: UInt8? { offset < bytes.count ? bytes[offset] : nil }

    private mutating func skip(_ byte: Unicode.Scalar) -> Bool {
        guard let next, next == UInt8(ascii: byte) else { return false }
        offset += 1
        return true
    }

    private mutating func skipSpace() {
        while let next, next.isJSONSpace { offset += 1 }
    }

    private mutating func value(depth: Int) throws(Failure) -> JSONValue {
        guard depth <= Self.depthLimit else { throw refusal("its values lie too deep in each other") }
        let start = offset
        let kind: JSONValue.Kind
        switch next {
        case UInt8(ascii: "{"): kind = .object(try members(depth: depth + 1))
        case UInt8(ascii: "["): kind = .array(try elements(depth: depth + 1))
        case UInt8(ascii: "\""): kind = .string(try string())
        case let digit? where digit == UInt8(ascii: "-") || digit.isJSONDigit: kind = .number(literal: try number())
        case UInt8(ascii: "t"): kind = try word("true", .bool(true))
        case UInt8(ascii: "f"): kind = try word("false", .bool(false))
        case UInt8(ascii: "n"): kind = try word("null", .null)
        case nil: throw refusal("it ends where a value is missing")
        default: throw refusal("a value is missing")
        }
        return JSONValue(kind: kind, range: start..<offset)
    }

    private mutating func word(_ word: String, _ kind: JSONValue.Kind) throws(Failure) -> JSONValue.Kind {
        guard bytes[offset...].starts(with: word.utf8) else { throw refusal("a value is missing") }
        offset += word.utf8.count
        return kind
    }

    private mutating func members(depth: Int) throws(Failure) -> [JSONMember] {
        offset += 1
        skipSpace()
        if skip("}") { return [] }
        var members: [JSONMember] = []
        // As bytes: a String's equality is Unicode's canonical equivalence.
        var names: Set<[UInt8]> = []
        repeat {
            skipSpace()
            let start = offset
            guard next == UInt8(ascii: "\"") else { throw refusal("a member's name is missing") }
            let name = try string()
            let nameRange = start..<offset
            guard names.insert(Array(name.utf8)).inserted else {
                throw refusal("\"\(name.excerpt)\" is given twice in one object")
            }
            skipSpace()
            guard skip(":") else { throw refusal("\":\" is missing after a member's name") }
            skipSpace()
            members.append(JSONMember(name: name, nameRange: nameRange, value: try value(depth: depth)))
            skipSpace()
        } while skip(",")
        guard skip("}") else { throw refusal("\",\" or \"}\" is missing after a member") }
        return members
    }

    private mutating func elements(depth: Int) throws(Failure) -> [JSONValue] {
        offset += 1
        skipSpace()
        if skip("]") { return [] }
        var elements: [JSONValue] = []
        repeat {
            skipSpace()
            elements.append(try value(depth: depth))
            skipSpace()
        } while skip(",")
        guard skip("]") else { throw refusal("\",\" or \"]\" is missing after an element") }
        return elements
    }

    /// Reads a number: no leading zeros, and digits on both sides of the point.
    private mutating func number() throws(Failure) -> String {
        let start = offset
        _ = skip("-")
        if !skip("0") { try digits() }
        if skip(".") { try digits() }
        if skip("e") || skip("E") {
            if !skip("+") { _ = skip("-") }
            try digits()
        }
        if let next, next.isJSONDigit { throw refusal("a number begins with a zero") }
        return String(decoding: bytes[start..<offset], as: UTF8.self)
    }

    private mutating func digits() throws(Failure) {
        guard let next, next.isJSONDigit else { throw refusal("a number lacks a digit") }
        while let next = self.next, next.isJSONDigit { offset += 1 }
    }

    private mutating func string() throws(Failure) -> String {
        offset += 1
        var text: [UInt8] = []
        while let byte = next {
            switch byte {
            case UInt8(ascii: "\""):
                offset += 1
                return String(decoding: text, as: UTF8.self)
            case UInt8(ascii: "\\"):
                offset += 1
                text.append(contentsOf: String(Character(try escaped())).utf8)
            case 0..<0x20: throw refusal("a string holds a control character")
            default:
                text.append(byte)
                offset += 1
            }
        }
        throw refusal("a string is not closed")
    }

    private mutating func escaped() throws(Failure) -> Unicode.Scalar {
        defer { offset += 1 }
        switch next {
        case UInt8(ascii: "\""): return "\""
        case UInt8(ascii: "\\"): return "\\"
        case UInt8(ascii: "/"): return "/"
        case UInt8(ascii: "b"): return "\u{8}"
        case UInt8(ascii: "f"): return "\u{c}"
        case UInt8(ascii: "n"): return "\n"
        case UInt8(ascii: "r"): return "\r"
        case UInt8(ascii: "t"): return "\t"
        case UInt8(ascii: "u"): return try escapedScalar()
        default: throw refusal("a string has an unknown escape sequence")
        }
    }

    /// Reads `u` and four digits, of which a character above U+FFFF takes two; leaves the offset at the last digit.
    private mutating func escapedScalar() throws(Failure) -> Unicode.Scalar {
        let half = "a string has half of a surrogate pair"
        let unit = try codeUnit()
        guard UTF16.isLeadSurrogate(unit) || UTF16.isTrailSurrogate(unit) else {
            guard let scalar = Unicode.Scalar(UInt32(unit)) else { throw refusal(half) }
            return scalar
        }
        offset += 1
        guard UTF16.isLeadSurrogate(unit), skip("\\"), next == UInt8(ascii: "u") else { throw refusal(half) }
        let trail = try codeUnit()
        guard UTF16.isTrailSurrogate(trail),
            let scalar = Unicode.Scalar(0x10000 + (UInt32(unit) - 0xd800) << 10 + (UInt32(trail) - 0xdc00))
        else { throw refusal(half) }
        return scalar
    }

    private mutating func codeUnit() throws(Failure) -> UInt16 {
        var unit: UInt16 = 0
        for _ in 0..<4 {
            offset += 1
            guard let next, let digit = Character(Unicode.Scalar(next)).hexDigitValue else {
                throw refusal("a string has an escape sequence that is no character")
            }
            unit = unit << 4 | UInt16(digit)
        }
        return unit
    }
}

extension UInt8 {
    /// Whether it is white space between values. RFC 8259, section 2
    var isJSONSpace: Bool { self == 0x20 || self == 0x09 || self == 0x0a || self == 0x0d }

    /// Whether it is a decimal digit.
    var isJSONDigit: Bool { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(self) }
}
