import Foundation
import JSONText
import Launch
import Platform
import Testing

/// JSON in the one form of RFC 8785.
struct CanonicalJSONTests {
    private func canonical(_ text: String) throws -> String {
        let parsed = try JSONText(parsing: Array(text.utf8), path: "it", limit: 1 << 20)
        return String(decoding: CanonicalJSON(measured: parsed.root).bytes, as: UTF8.self)
    }

    /// The example of RFC 8785, 3.2.3: the order of UTF-16 code units, in which a character above U+FFFF comes before one below.
    @Test func membersAreInTheOrderOfTheirCodeUnits() throws {
        let text =
            #"{"\u20ac":"Euro Sign","\r":"Carriage Return","\ufb33":"Hebrew Letter Dalet With Dagesh","1":"One","#
            + #""\ud83d\ude00":"Emoji: Grinning Face","\u0080":"Control","\u00f6":"Latin Small Letter O With Diaeresis"}"#
        let expected =
            "{\"\\r\":\"Carriage Return\",\"1\":\"One\",\"\u{80}\":\"Control\","
            + "\"\u{f6}\":\"Latin Small Letter O With Diaeresis\",\"\u{20ac}\":\"Euro Sign\","
            + "\"\u{1f600}\":\"Emoji: Grinning Face\",\"\u{fb33}\":\"Hebrew Letter Dalet With Dagesh\"}"
        #expect(try canonical(text).utf8.elementsEqual(expected.utf8))
    }

    @Test(
        arguments: [
            (#" { "b" : [ 1 , true , null ] , "a" : "" } "#, #"{"a":"","b":[1,true,null]}"#),
            (
                #""\u0008\u0009\u000a\u000c\u000d\u0000\u001f\"\\\/\u007f""#,
                "\"\\b\\t\\n\\f\\r\\u0000\\u001f\\\"\\\\/\u{7f}\""
            ),
            ("9007199254740991", "9007199254740991"), ("-9007199254740991", "-9007199254740991"),
            // What a double does not have exactly, or is written otherwise, is no number, and no string either.
            ("9007199254740992", #"{"number":"9007199254740992"}"#),
            ("18446744073709551615", #"{"number":"18446744073709551615"}"#), ("1.0", #"{"number":"1.0"}"#),
            ("1e3", #"{"number":"1e3"}"#), ("-0", #"{"number":"-0"}"#),
            // And what looks like that is another.
            (#"{"number":"1e3"}"#, #"{"object":{"number":"1e3"}}"#), (#"{"object":1}"#, #"{"object":{"object":1}}"#),
        ]
    )
    func aTextHasOneForm(text: String, form: String) throws {
        #expect(try canonical(text).utf8.elementsEqual(form.utf8))
        let read = try JSONText(parsing: Array(form.utf8), path: "it", limit: 1 << 20)
        #expect(CanonicalJSON(read.root).bytes.elementsEqual(form.utf8))
    }

    /// Two names that Unicode takes for equivalent are two.
    @Test func equivalentNamesAreTwo() throws {
        let text = "{\"e\u{301}\":1,\"\u{e9}\":2}"
        #expect(try canonical(text).utf8.elementsEqual(text.utf8))
        let one = LaunchStatement(text: Array("{\"a\":\"e\u{301}\"}".utf8))
        let other = LaunchStatement(text: Array("{\"a\":\"\u{e9}\"}".utf8))
        #expect(try differences(one, other) == ["a"])
    }
}
