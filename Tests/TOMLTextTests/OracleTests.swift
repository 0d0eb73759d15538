import Glibc
import Platform
import TOMLText
import TestSupport
import Testing

/// The parser against another one: Python's tomllib, which is in Debian's python3.
@Suite struct OracleTests {
    /// What both make of a document: its contents in one writing, or nothing where it is refused.
    struct Verdicts {
        let ours: String?
        let reason: String
        let theirs: String?
        /// Whether the document holds what no key takes, and only this parser refuses.
        let isBeyondOurs: Bool
    }

    /// Reads documents separated by zeros and writes a line for each: the contents or `-`, and whether it is beyond ours.
    static let script = """
        import sys, tomllib
        beyond = False
        def write(value):
            global beyond
            if isinstance(value, bool): return 'true' if value else 'false'
            if isinstance(value, int):
                beyond = beyond or not -2**63 <= value < 2**63
                return str(value)
            if isinstance(value, str): return 's' + value.encode().hex()
            if isinstance(value, list): return '[' + ','.join(map(write, value)) + ']'
            if isinstance(value, dict):
                pairs = sorted(key.encode().hex() + '=' + write(item) for key, item in value.items())
                return '{' + ','.join(pairs) + '}'
            beyond = True
            return 'other'
        for document in sys.stdin.buffer.read().split(b'\\0'):
            beyond = False
            try: text = write(tomllib.loads(document.decode('utf-8-sig')))
            except (ValueError, RecursionError): text = None
            print(text or '-', beyond)
        """

    static func write(_ value: Document.Value) -> String {
        switch value {
        case .boolean(let boolean): "\(boolean)"
        case .integer(let integer): "\(integer)"
        case .string(let string): "s\(hex(string))"
        case .float, .time: "other"
        case .array(let elements): "[\(elements.map(write).joined(separator: ","))]"
        case .table(let entries):
            "{\(entries.map { "\(hex($0.key))=\(write($0.value.value))" }.sorted().joined(separator: ","))}"
        }
    }

    static func hex(_ text: String) -> String {
        text.utf8.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    }

    func judge(_ documents: [[UInt8]]) throws -> [Verdicts] {
        var template = Array("/tmp/container-vtpm-test.XXXXXX".utf8CString)
        let directory = try #require(mkdtemp(&template).map { String(cString: $0) })
        defer { _ = try? ProgramLaunch("/bin/rm", ["rm", "-rf", directory]).start().wait() }
        try Descriptor.open("\(directory)/in", OpenOptions(O_WRONLY | O_CREAT, mode: 0o600))
            .writeAll(Array(documents.joined(separator: [0])), "documents")
        let shell = ProgramLaunch(
            "/bin/sh",
            ["sh", "-c", "python3 -c \"$1\" <\"$2/in\" >\"$2/out\"", "sh", Self.script, directory]
        )
        #expect(try shell.start().wait() == .exited(0))
        let output = try Descriptor.open("\(directory)/out", .read).readAll(limit: 1 << 28, "verdicts")
        let lines = output.split(separator: UInt8(ascii: "\n"))
        try #require(lines.count == documents.count)
        return try zip(documents, lines).map { document, line in
            let verdict = String(decoding: line, as: UTF8.self).split(separator: " ")
            try #require(verdict.count == 2)
            var ours: String?
            var reason = ""
            do throws(Failure) {
                ours = Self.write(.table(try Document(parsing: document, path: "/c").root))
            } catch {
                reason = error.description
            }
            return Verdicts(
                ours: ours,
                reason: reason,
                theirs: verdict[0] == "-" ? nil : String(verdict[0]),
                isBeyondOurs: verdict[1] == "True"
                    || reason.contains("too many parts") || reason.contains("too deep")
                    || reason.contains("zero character")
            )
        }
    }

    static let seeds = [
        "[state]\nid = \"container\"\nscope = 'none' # c\nephemeral = true\n",
        "[key]\nsource = \"command\"\ncommand = [\"/c\", \"--x\", # c\n 'y',\n]\ntimeout = 10\n[key.next]\nfile = \"/k\"\n",
        "a = {b = 1, c.d = [1, 0x2F, -3], 'e f' = {}}\n\"\\u00e9\".g = \"\\U0001F600\\n\\\"\"\r\n[h . 'i']\nj = 1_000\n",
        "[a.b.c]\nx = 1\n[a]\nb.d = 2\ny = 0o17\n[a.b.e]\nz = 0b1\n[m.n]\n[m]\no.p = 1\n[m.o.q]\n",
        "a = 1.5e+3\nb = [-inf, 1979-05-27T07:32:00.5Z, 1979-05-27 07:32:00, 07:32:00]\nc = \"\"\"\nx\\\n y\"\"z\"\"\"\n",
        "[[a]]\nb = '''x\n'y''''\n[[a.c]]\n[a.d]\ne = 1\n[[a]]\n[[a.c]]\n[a.d]\n[f.g]\n[[f.h]]\n",
        "a.b = 1\na.c = 2\n[d]\ne.f = 1\n[d.e.g]\n[h]\n",
    ]

    static let tokens = [
        "[", "]", "{", "}", "=", ".", ",", "#", "\"", "'", "\n", "\r", "\r\n", " ", "\t", "\\", "\\u00e9", "0x", "-",
        "+",
        "_", "0", "9", "a", "b", "e", "true", "1979-05-27", "07:32:00", "\u{a0}", "é", "\u{1}", "\u{c}", "[a]\n",
        "[a.b]\n", "[[a]]\n", "[[a.b]]\n", "\"\"\"", "'''", ".", "e", ":", "T", "Z", "inf", "nan",
        "a = 1\n", "b.c = 2\n", "a.b = {}\n", "[key]\n", "\u{FEFF}",
    ].map { Array($0.utf8) }

    @Test func agreesWithAnotherParser() throws {
        var generator = SeededGenerator(seed: 3)
        let documents = (0..<20_000).map { number in
            var bytes = Array((Self.seeds[number % Self.seeds.count]).utf8)
            if number % 7 == 0 { bytes = [] }
            for _ in 0..<Int.random(in: 0...3, using: &generator) {
                let index = Int.random(in: 0...bytes.count, using: &generator)
                switch Int.random(in: 0..<4, using: &generator) {
                case 0 where index < bytes.count: bytes.remove(at: index)
                case 1 where index < bytes.count: bytes[index] = UInt8.random(in: 1...255, using: &generator)
                default: bytes.insert(contentsOf: Self.tokens.randomElement(using: &generator)!, at: index)
                }
            }
            return bytes
        }
        var both = 0
        var neither = 0
        for (document, verdicts) in zip(documents, try judge(documents)) {
            let text = String(decoding: document, as: UTF8.self)
            if let ours = verdicts.ours {
                #expect(ours == verdicts.theirs, "\(text)")
                both += 1
            } else if verdicts.theirs == nil {
                neither += 1
            } else {
                #expect(verdicts.isBeyondOurs, "\(verdicts.reason): \(text)")
            }
            guard verdicts.ours == nil else { continue }
            let prefix = "cannot read /c: line "
            let number = Int(verdicts.reason.dropFirst(prefix.count).prefix { $0.isNumber }) ?? 0
            let lines = document.count { $0 == UInt8(ascii: "\n") } + 1
            #expect(verdicts.reason.hasPrefix(prefix) && (1...lines).contains(number), "\(verdicts.reason): \(text)")
        }
        #expect(both > 2000 && neither > 2000)
    }
}
