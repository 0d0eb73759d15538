import JSONText
import Platform
import TestSupport
import Testing

/// Edits by splicing: what is added looks like its neighbours, and all else stays byte for byte.
@Suite struct EditingTests {
    private func edited(_ text: String, _ edit: (inout JSONText) throws -> Void) throws -> String {
        var json = try JSONText(parsing: Array(text.utf8), path: "f", limit: 1 << 20)
        try edit(&json)
        return String(decoding: json.bytes, as: UTF8.self)
    }

    @Test(arguments: [
        ("{}", #"{"r": {"v": 1}}"#),
        (#"{"a":2}"#, #"{"a":2,"r":{"v": 1}}"#),
        (#"{ "a" : 2 }"#, #"{ "a" : 2, "r" : {"v": 1} }"#),
        ("{\n}\n", "{\n    \"r\": {\"v\": 1}\n}\n"),
        ("{\n  \"a\": 2\n}\n", "{\n  \"a\": 2,\n  \"r\": {\"v\": 1}\n}\n"),
        ("{\r\n\t\"a\": 2\r\n}", "{\r\n\t\"a\": 2,\r\n\t\"r\": {\"v\": 1}\r\n}"),
        ("{\n  \"r\": {}\n}", "{\n  \"r\": {\n    \"v\": 1\n  }\n}"),
        ("{\n  \"r\": {\n    \"n\": {}\n  }\n}", "{\n  \"r\": {\n    \"n\": {},\n    \"v\": 1\n  }\n}"),
        (#"{"r": {"v": [7]}, "z": 0}"#, #"{"r": {"v": 1}, "z": 0}"#),
        (#"{"r": null, "z": 0}"#, #"{"r": {"v": 1}, "z": 0}"#),
    ])
    func `a member is set`(before: String, after: String) throws {
        #expect(try edited(before) { try $0.set("1", at: ["r", "v"]) } == after)
    }

    @Test(arguments: [
        ("{}", #"{"a": [1]}"#), (#"{"a": null}"#, #"{"a": [1]}"#), (#"{"a": []}"#, #"{"a": [1]}"#),
        (#"{"a": [0]}"#, #"{"a": [0,1]}"#), (#"{"a": [0, 0]}"#, #"{"a": [0, 0, 1]}"#),
        ("{\n  \"a\": [\n    0\n  ]\n}", "{\n  \"a\": [\n    0,\n    1\n  ]\n}"),
    ])
    func `an element is appended`(before: String, after: String) throws {
        #expect(try edited(before) { try $0.append("1", to: ["a"]) } == after)
    }

    @Test(arguments: [
        (#"{"a": 1, "v": 2, "z": 3}"#, #"{"a": 1, "z": 3}"#), (#"{"v": 2, "z": 3}"#, #"{"z": 3}"#),
        (#"{"a": 1 , "v": 2 }"#, #"{"a": 1 }"#), (#"{ "v": 2 }"#, "{}"), (#"{"\u0076": 2}"#, "{}"),
        (#"{"a": 1}"#, #"{"a": 1}"#), ("[1]", "[1]"),
    ])
    func `a member is removed`(before: String, after: String) throws {
        #expect(try edited(before) { try $0.removeMember(at: ["v"]) } == after)
    }

    @Test func `an element is removed`() throws {
        for (index, rest) in ["[1, 2]", "[0, 2]", "[0, 1]"].enumerated() {
            #expect(try edited("[0, 1, 2]") { try $0.removeElements([index], of: []) } == rest)
        }
        for (names, missing) in [(["a"], 1), (["a"], -1), (["b"], 0), ([], 0)] {
            let name = names.isEmpty ? "its value" : "\"\(names[0])\""
            #expect(throws: Failure("cannot change f", because: "\(name) has no element \(missing)")) {
                try edited(#"{"a": [0]}"#) { try $0.removeElements([0, missing], of: names) }
            }
        }
    }

    /// Each with the comma and the white space that stands before it, or after it if all before it go too.
    @Test(
        arguments: [
            ([], "[ 0,1 , 2,\n3 ]"), ([0, 1], "[ 2,\n3 ]"), ([0, 2], "[ 1,\n3 ]"), ([1, 2], "[ 0,\n3 ]"),
            ([0, 3], "[ 1 , 2 ]"), ([2, 3], "[ 0,1 ]"), ([0, 1, 3], "[ 2 ]"), ([1, 2, 3], "[ 0 ]"),
            ([0, 1, 2, 3], "[]"),
        ] as [(Set<Int>, String)]
    )
    func `several elements are removed at once`(indices: Set<Int>, rest: String) throws {
        #expect(try edited("[ 0,1 , 2,\n3 ]") { try $0.removeElements(indices, of: []) } == rest)
    }

    /// To parse the text for each of them would take minutes.
    @Test func `thousands of elements go`() throws {
        let text = "[" + (0..<20_000).map { "{\"a\":\($0)}" }.joined(separator: ",") + "]"
        var json = try JSONText(parsing: Array(text.utf8), path: "f", limit: 1 << 20)
        try json.removeElements(Set(0..<19_999), of: [])
        #expect(json.bytes == Array("[{\"a\":19999}]".utf8))
    }

    @Test func `an edit that fails changes nothing`() throws {
        var json = try JSONText(parsing: Array(#"{"a": {"b": 7}}"#.utf8), path: "f", limit: 20)
        let before = json.bytes
        #expect(throws: Failure("cannot change f", because: #""a.b" is a number and not an object"#)) {
            try json.set("1", at: ["a", "b", "c", "d"])
        }
        #expect(throws: Failure("cannot change f", because: #""a" is an object and not an array"#)) {
            try json.append("1", to: ["a"])
        }
        #expect(throws: Failure("cannot read the value for f", because: "line 1: something follows the value")) {
            try json.set("1, \"x\": 2", at: ["c"])
        }
        #expect(throws: Failure("cannot read f", because: "it is larger than 20 bytes")) {
            try json.set("123456", at: ["c"])
        }
        #expect(throws: Failure("cannot change f", because: "its whole value cannot be removed")) {
            try json.removeMember(at: [])
        }
        #expect(json.bytes == before)
    }

    /// In texts of any shape, an edit changes one value, and removing what was added gives the former bytes.
    @Test func `edits keep all else`() throws {
        var random = SeededGenerator(seed: 15)
        for _ in 0..<500 {
            let text = object(depth: 3, &random)
            let before = try JSONText(parsing: Array(text.utf8), path: "f", limit: 1 << 20)
            let names = ["new", "member"]
            var json = before
            try json.set("[1]", at: names)
            #expect(json.value(at: names)?.elements?.first?.integer == 1)
            #expect(json.root.members?.dropLast().map(\.name) == before.root.members?.map(\.name))
            for member in before.root.members ?? [] {
                let kept = try #require(json.root[member.name])
                #expect(json.bytes[kept.range] == before.bytes[member.value.range])
            }
            try json.append("2", to: names)
            #expect(json.value(at: names)?.elements?.count == 2)
            try json.removeElements([1], of: names)
            try json.removeMember(at: ["new"])
            if before.root.members?.isEmpty == false { #expect(json.bytes == before.bytes) }
        }
    }

    private func object(depth: Int, _ random: inout SeededGenerator) -> String {
        let space = { (random: inout SeededGenerator) in
            ["", " ", "\n", "\n  ", "\t"].randomElement(using: &random) ?? ""
        }
        var text = "{"
        for index in 0..<Int.random(in: 0...3, using: &random) {
            text += (index > 0 ? "," : "") + space(&random) + "\"m\(index)\\u00e9\"" + space(&random) + ":"
            text += space(&random)
            switch depth > 0 ? Int.random(in: 0..<4, using: &random) : 0 {
            case 0: text += "-1.50e+3"
            case 1: text += #""x\"{,]""#
            case 2: text += "[" + object(depth: depth - 1, &random) + space(&random) + ", null]"
            default: text += object(depth: depth - 1, &random)
            }
            text += space(&random)
        }
        return text + space(&random) + "}"
    }
}
