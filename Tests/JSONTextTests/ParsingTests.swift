import JSONText
import Platform
import Testing

/// What RFC 8259 takes and what it refuses, with the traps of other parsers.
@Suite struct ParsingTests {
    private func parse(_ text: String, limit: Int = 1 << 20) throws(Failure) -> JSONValue {
        try JSONText(parsing: Array(text.utf8), path: "f", limit: limit).root
    }

    @Test func `values and where they stand`() throws {
        let root = try parse(#" {"a": [1, -2.5e+3, true, null], "b\u0041": "x\ud83d\ude00\/"} "#)
        #expect(root.range == 1..<62)
        #expect(
            root["a"]?.elements?.map(\.kind) == [
                .number(literal: "1"), .number(literal: "-2.5e+3"), .bool(true), .null,
            ]
        )
        #expect(root["a"]?.elements?.first?.integer == 1)
        #expect(root["a"]?.elements?[1].integer == nil)
        #expect(root["bA"]?.string == "x😀/")
        #expect(root["c"] == nil)
        #expect(root["a"]?.range == 7..<31)
    }

    @Test func `numbers stay as they are`() throws {
        for literal in ["0", "-0", "1e400", "123456789012345678901234567890", "0.10", "1E-2"] {
            #expect(try parse(literal).kind == .number(literal: literal))
        }
        #expect(try parse("9223372036854775807").integer == .max)
        #expect(try parse("9223372036854775808").integer == nil)
    }

    @Test(arguments: [
        ("", "line 1: it ends where a value is missing"),
        ("{} {}", "line 1: something follows the value"),
        ("\u{feff}{}", "line 1: a value is missing"),
        (#"{"a":1,"\u0061":2}"#, #"line 1: "a" is given twice in one object"#),
        (#"{"a":{"b":1,"b":2}}"#, #"line 1: "b" is given twice in one object"#),
        (#"["\ud800"]"#, "line 1: a string has half of a surrogate pair"),
        (#"["\udc00\ud800"]"#, "line 1: a string has half of a surrogate pair"),
        (#"["\ud800\u0041"]"#, "line 1: a string has half of a surrogate pair"),
        (#"["\u00g0"]"#, "line 1: a string has an escape sequence that is no character"),
        (#"["\u00"#, "line 1: a string has an escape sequence that is no character"),
        (#"["\x"]"#, "line 1: a string has an unknown escape sequence"),
        (#"["\"#, "line 1: a string has an unknown escape sequence"),
        ("[\n\"a\tb\"]", "line 2: a string holds a control character"),
        ("[\"a", "line 1: a string is not closed"),
        ("[1,]", "line 1: a value is missing"),
        ("[1 2]", "line 1: \",\" or \"]\" is missing after an element"),
        (#"{"a":1,}"#, "line 1: a member's name is missing"),
        (#"{"a" 1}"#, "line 1: \":\" is missing after a member's name"),
        (#"{"a":1 "b":2}"#, "line 1: \",\" or \"}\" is missing after a member"),
        ("{a:1}", "line 1: a member's name is missing"),
        ("[01]", "line 1: a number begins with a zero"),
        ("[-]", "line 1: a number lacks a digit"),
        ("[1.]", "line 1: a number lacks a digit"),
        ("[1e]", "line 1: a number lacks a digit"),
        ("[.5]", "line 1: a value is missing"),
        ("[+1]", "line 1: a value is missing"),
        ("[NaN]", "line 1: a value is missing"),
        ("[nul]", "line 1: a value is missing"),
        ("[truex]", "line 1: \",\" or \"]\" is missing after an element"),
        ("// c\n{}", "line 1: a value is missing"),
        ("[1]\u{0}", "line 1: something follows the value"),
    ])
    func `what is refused`(text: String, why: String) {
        #expect(throws: Failure("cannot read f", because: why)) { try parse(text) }
    }

    @Test func `names that Unicode takes for equivalent are two names`() throws {
        let root = try parse("{\"K\": 1, \"\u{212a}\": 2}")
        #expect(root["K"]?.integer == 1)
        #expect(root["\u{212a}"]?.integer == 2)
    }

    @Test func `bytes that are not UTF-8 are refused`() {
        for bad: [UInt8] in [[0x22, 0xff, 0x22], [0x22, 0xc0, 0x80, 0x22], [0x22, 0xed, 0xa0, 0x80, 0x22]] {
            #expect(throws: Failure("cannot read f", because: "line 2: it is not UTF-8")) {
                try JSONText(parsing: [0x0a] + bad, path: "f", limit: 100)
            }
        }
    }

    @Test func `depth and size have limits`() throws {
        let deep = { (count: Int) in String(repeating: "[", count: count) + String(repeating: "]", count: count) }
        _ = try parse(deep(128))
        for count in [130, 1_000_000] {
            #expect(throws: Failure("cannot read f", because: "line 1: its values lie too deep in each other")) {
                try parse(deep(count), limit: 1 << 22)
            }
        }
        _ = try parse("[12]", limit: 4)
        #expect(throws: Failure("cannot read f", because: "it is larger than 3 bytes")) { try parse("[12]", limit: 3) }
    }

    @Test func `a quoted string is read as it was`() throws {
        let text = String(String.UnicodeScalarView((0..<0x300).compactMap(Unicode.Scalar.init))) + "😀\u{2028}\"\\"
        #expect(try parse(JSONText.quoted(text)).string == text)
    }
}
