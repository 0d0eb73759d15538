import Glibc
import JSONText
import Platform
import Testing

@testable import RuntimeWrapper

/// The file in which an engine looks for the error.
@Suite struct RuntimeLogTests {
    private static let texts = [
        "plain", #"a "quoted" \ one"#, "\u{1}\u{1b}[2J\u{7f}\r\n", "ü\u{301}\u{2028}😀",
        String(repeating: "ü", count: 40_000),
    ]

    @Test(arguments: texts) func `a line is one JSON object`(text: String) throws {
        let failure = Failure("cannot do it", because: text, hint: "do it otherwise")
        let line = RuntimeLog.line(failure, isJSON: true)
        #expect(line.utf8.last == UInt8(ascii: "\n") && line.utf8.count { $0 == UInt8(ascii: "\n") } == 1)
        let json = try JSONText(parsing: Array(line.utf8), path: "log", limit: 1 << 20)
        #expect(json.root.members?.map(\.name) == ["level", "msg", "time"])
        #expect(json.root["level"]?.string == "error")
        #expect(json.root["msg"]?.string?.utf8.elementsEqual("vtpm-runtime: \(failure)".utf8) == true)
        // RFC 3339, as runc and crun write it.
        let time = try #require(json.root["time"]?.string)
        #expect(time.wholeMatch(of: #/\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ/#) != nil)
    }

    @Test(arguments: texts) func `a line of text is one line`(text: String) {
        let line = RuntimeLog.line(Failure("cannot do it", because: text), isJSON: false)
        #expect(line.hasPrefix("vtpm-runtime: cannot do it: "))
        #expect(line.utf8.last == UInt8(ascii: "\n") && line.utf8.count { $0 == UInt8(ascii: "\n") } == 1)
    }

    private let folder: WrapperFolder
    private let failure = Failure("cannot do it", because: "it is a test")
    init() throws { folder = try WrapperFolder() }

    private func write() {
        RuntimeLog.write(failure, to: Invocation(["", "--log", "\(folder.path)/log", "create"]))
    }

    @Test func `it is added at the end`() throws {
        try folder.write("log", "before\n")
        write()
        #expect(try folder.read("log") == "before\nvtpm-runtime: \(failure)\n")
    }

    @Test func `a file is made`() throws {
        write()
        #expect(try folder.read("log") == "vtpm-runtime: \(failure)\n")
    }

    @Test func `a link is not followed`() throws {
        try folder.write("target", "untouched")
        #expect(symlink("target", "\(folder.path)/log") == 0)
        write()
        #expect(try folder.read("target") == "untouched")
    }
}
