import Platform
import Testing

@testable import TOMLText

@Suite struct DocumentTests {
    func document(_ text: String) throws(Failure) -> Document {
        try Document(parsing: Array(text.utf8), path: "/c")
    }

    @Test(arguments: [
        ("a", "line 1: it ends where \"=\" is missing"), ("[state", "line 1: it ends where \"]\" is missing"),
        ("[.a]", "line 1: \".\" stands where a key is missing"),
        ("[[[a]]]", "line 1: \"[\" stands where a key is missing"),
        ("[[a]", "line 1: \"]\" stands where \"]]\" is missing"),
        ("[[a]]\n[a]", "line 2: \"a\" is given already in line 1"),
        ("a = []\n[[a]]", "line 2: \"a\" is given already in line 1"),
        ("[a.b]\n[[a]]", "line 2: \"a\" is given already in line 1"),
        ("[[a]]\n[b]\n[a.c]\n[a.c]", "line 4: \"c\" is given already in line 3"),
        ("[[a]]\n[b]\na = 1\n[[b.a]]", "line 4: \"a\" is given already in line 3"),
        ("\n[ü]", "line 2: \"ü\" stands where a key is missing"), ("ü = 1", "line 1: \"ü\" stands where a key"),
        ("a = ü", "line 1: \"ü\" stands where a value is missing"),
        ("a =\nb = 1", "line 1: a value is missing at its end"),
        ("a = 1 b = 2", "line 1: \"b\" stands where the end of the line is missing"),
        ("a = [1, }", "line 1: \"}\" stands where a value is missing"),
        ("a = [\n1\n2]", "line 3: \"2\" stands where \",\" or \"]\" is missing"),
        ("\na = [\n1,\n\n", "line 2: an array is not closed"), ("\na = [\n1", "line 2: an array is not closed"),
        ("a = {b = 1,}", "line 1: \"}\" stands where a key is missing"),
        ("a = {b = 1\n}", "line 1: \",\" or \"}\" is missing at its end"),
        ("\n\n[state]\nid = \"x\n", "line 4: a string is not closed"), ("a = '", "line 1: a string is not closed"),
        ("a = \"\\", "line 1: a string has an unknown escape sequence"),
        ("a = \"\\q\"", "line 1: a string has an unknown escape sequence"),
        ("a = \"\\ud800\"", "line 1: a string has an escape sequence that is no character"),
        ("a = \"\\u00e\"", "line 1: a string has an escape sequence that is no character"),
        ("a = \"\\U00110000\"", "line 1: a string has an escape sequence that is no character"),
        ("a = \"\"\"\nb\"\"", "line 1: a string is not closed"),
        ("\n\"\"\"a\"\"\" = 1", "line 2: a key is a string of several lines"),
        ("a = '''b\n\u{1}'''", "line 2: it holds a control character"),
        ("a = container", "line 1: \"container\" is neither an integer nor true nor false, and a string needs quotes"),
        ("a = 1.", "line 1: \"1.\" is neither"), ("a = 1979-02-29", "line 1: \"1979-02-29\" is"),
        ("a = 1979-05-27T07:60:00Z", "line 1: \"1979-05-27T07:60:00Z\" is"), ("a = .5", "line 1: \".5\" is"),
        ("a = 9223372036854775808", "line 1: \"9223372036854775808\" is neither"), ("a = True", "line 1: \"True\" is"),
        ("# c\n# \u{1}", "line 2: it holds a control character"), ("a = \"\u{7f}\"", "line 1: it holds a control"),
        ("a = 1\rb = 2", "line 1: the end of the line is missing"),
        ("[a]\n[b]\n[a]", "line 3: \"a\" is given already in line 1"),
        ("a = 1\n\na = 1", "line 3: \"a\" is given already in line 1"),
        ("a = 1\na.b = 1", "line 2: \"a\" is given already in line 1"),
        ("a.b = 1\n[a]", "line 2: \"a\" is given already in line 1"),
        ("[a.b.x]\n[a]\nb.c = 1\n[a.b]", "line 4: \"b\" is given already in line 3"),
        ("[a.b]\n[a]\nb.c = 1", "line 3: \"b\" is given already in line 1"),
        ("a = {}\na.b = 1", "line 2: \"a\" is given already in line 1"),
        ("a = {}\n[a.b]", "line 2: \"a\" is given already in line 1"),
        ("a = [{}]\n[a.b]", "line 2: \"a\" is given already in line 1"),
        ("a = {b.c = 1, b = 2}", "line 1: \"b\" is given already in line 1"),
        ("a.b.c.d.e.f.g.h.i = 1", "line 1: it has a key of too many parts"),
    ])
    func saysWhatIsWrongWhere(text: String, reason: String) throws {
        let error = #expect(throws: Failure.self) { try document(text) }
        let line = try #require(error).description
        #expect(line.hasPrefix("cannot read /c: \(reason)"), "\(line)")
    }

    @Test(arguments: [
        ([0xff], 1), ([0x0a, 0x0a, 0x23, 0x80], 3), ([0x23, 0xc3, 0xa9, 0x0a, 0xc3], 2),
        ([0x23, 0xef, 0xbf, 0xbd, 0x0a, 0x23, 0xed, 0xa0, 0x80, 0x0a], 2),
    ])
    func saysInWhichLineItIsNotUTF8(bytes: [UInt8], line: Int) throws {
        let error = #expect(throws: Failure.self) { try Document(parsing: bytes, path: "/c") }
        #expect(error?.description == "cannot read /c: line \(line): it is not UTF-8")
    }

    /// A path or a name would end there, and mean something else, once it is a C string.
    @Test(arguments: ["\0", "# \0", "a = \"\\u0000\"", "a = '\0'", "a = \"\\U00000000\"", "\"a\\u0000\" = 1"])
    func refusesZeroCharacters(text: String) throws {
        #expect(throws: Failure.self) { try document(text) }
    }

    @Test(
        arguments: [
            ("a = 0", .integer(0)), ("a = -17", .integer(-17)), ("a = +1_000", .integer(1000)), ("a = -0", .integer(0)),
            ("a = 0xDEAD_beef", .integer(0xdead_beef)), ("a = 0o755", .integer(0o755)), ("a = 0b1_0", .integer(2)),
            ("a = -9223372036854775808", .integer(.min)), ("a=true", .boolean(true)),
            ("\ta\t=\tfalse # c", .boolean(false)),
            (#"a = "\b\t\n\f\r\"\\\u00e9\U0001F600é""#, .string("\u{8}\t\n\u{c}\r\"\\éé".replacing("éé", with: "é😀é"))),
            (#"a = 'C:\x "y" # z'"#, .string(#"C:\x "y" # z"#)), ("\"a\" = ''", .string("")),
            ("a = []", .array([])), ("'a' = [ # c\n 1, # d\n\n 2\n , ]", .array([.integer(1), .integer(2)])),
            ("a = [[1], [\"x\"]]", .array([.array([.integer(1)]), .array([.string("x")])])),
            ("a = { }", .table([:])), ("a = -1_0.5e+06", .float(literal: "-1_0.5e+06")),
            ("a = 1e5", .float(literal: "1e5")),
            ("a = -inf", .float(literal: "-inf")), ("a = 0.0", .float(literal: "0.0")),
            ("a = 1979-05-27T07:32:00.5-07:00", .time(literal: "1979-05-27T07:32:00.5-07:00")),
            ("a = 2000-02-29 07:32:00Z # c", .time(literal: "2000-02-29 07:32:00Z")),
            ("a = 1979-05-27 # c", .time(literal: "1979-05-27")), ("a = 07:32:00", .time(literal: "07:32:00")),
            ("a = \"\"\"\n x\\\n\r\n  y\"\"\r\nz\"\"\"\"\"", .string(" xy\"\"\nz\"\"")),
            ("a = '''x\\\n'y''''", .string("x\\\n'y'")), ("a = \"\"\"\"\"\"", .string("")),
            (
                "[[a]]\nb = 1\n[[a]]",
                .array([.table(["b": .init(value: .integer(1), line: 2)]), .table([:])])
            ),
            ("a = {b.c = 1}", .table(["b": .init(value: .table(["c": .init(value: .integer(1), line: 1)]), line: 1)])),
        ] as [(String, Document.Value)]
    )
    func readsValues(text: String, value: Document.Value) throws {
        #expect(try document(text).root == ["a": Document.Entry(value: value, line: 1)])
    }

    @Test(arguments: [
        "00", "01", "-01", "+0x1", "0x", "0xg", "0b2", "0o8", "1_", "_1", "1__0", "0x_1", "+", "--1", "1e", "1_.0",
        "1._0", "01.5", "+-inf", "Inf",
        "1979-13-01", "24:00:00", "07:32", "1979-05-27T", "1979-05-27T07:32:00+24:00",
    ])
    func refusesWhatIsNoNumber(text: String) {
        #expect(throws: Failure.self) { try document("a = \(text)") }
    }

    @Test func remembersTheLineOfEveryKey() throws {
        let text = """
            # a comment
            a = 1

            [t.w] # another
            b = [
              1, # b = 2

              [ 2,
                3 ],
            ]
            c = '''
            d = 4
            e.f = { g = 6 }
            [t]
            d = '#'
            """.replacing("c = '''\n", with: "")
        let expected: [(path: [String], line: Int)] = [
            (["a"], 2), (["t"], 13), (["t", "w"], 4), (["t", "w", "b"], 5), (["t", "w", "d"], 11),
            (["t", "w", "e"], 12),
            (["t", "w", "e", "f", "g"], 12), (["t", "d"], 14),
        ]
        for version in [text, text.replacing("\n", with: "\r\n")] {
            let document = try document(version)
            for (path, line) in expected {
                var entry = Document.Entry(value: .table(document.root), line: 0)
                for name in path {
                    guard case .table(let entries) = entry.value else { break }
                    entry = try #require(entries[name])
                }
                #expect(entry.line == line, "\(path)")
            }
        }
    }

    @Test func knowsWhereValuesAndTablesStand() throws {
        let text = "a = 1\n[t.w] # x\nb.c = \"x\" # y\n[[l]]\nd = 1\n[l.m]\ne = 2\n[u]"
        let document = try document(text)
        func part(_ range: Range<Int>?) -> String? {
            range.map { String(decoding: Array(text.utf8)[$0], as: UTF8.self) }
        }
        #expect(part(document.range(ofValueAt: ["a"])) == "1")
        #expect(part(document.range(ofValueAt: ["t", "w", "b", "c"])) == "\"x\"")
        #expect(document.range(ofValueAt: ["l", "d"]) == nil && document.range(ofValueAt: ["l", "m", "e"]) == nil)
        #expect(document.contentOffset(ofTableAt: ["t", "w"]) == 16)
        #expect(document.contentOffset(ofTableAt: ["u"]) == text.utf8.count)
        #expect(
            document.contentOffset(ofTableAt: ["t"]) == nil && document.contentOffset(ofTableAt: ["l", "m"]) == nil
        )
        #expect(document.value(at: ["t", "w", "b", "c"]) == .string("x"))
    }

    /// What a file of 64 KiB can hold at worst ends in an error and not in a crash.
    @Test(arguments: [
        "a = " + String(repeating: "[", count: 65000), "a = " + String(repeating: "{b=", count: 20000),
        String(repeating: "a.", count: 32000) + "a = 1", "[" + String(repeating: "a.", count: 32000) + "a]",
        String(repeating: "[a]\n", count: 16000), String(repeating: "\n", count: 65000) + "a",
        "a = \"" + String(repeating: "\\", count: 65000), "a = " + String(repeating: "1", count: 65000),
        "a = \"" + String(repeating: "e\u{301}", count: 20000),
    ])
    func survivesLargeDocuments(text: String) throws {
        let error = #expect(throws: Failure.self) { try document(text) }
        #expect(try #require(error).description.utf8.count < 300)
    }
}
