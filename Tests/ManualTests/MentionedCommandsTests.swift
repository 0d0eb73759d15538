import Foundation
import Testing

/// Each command that documents, messages and scripts name exists, and each that exists is in a document.
@Suite struct MentionedCommandsTests {
    private let tree: CommandTree
    private let known: Set<String>

    init() throws {
        tree = try CommandTree()
        known = Set(tree.commands.map(\.name)).union(tree.groups)
    }

    /// Returns what is wrong with a mention, which begins after `vtpmctl `; nil if nothing is.
    private func mistake(in mention: Substring) -> String? {
        var path = "vtpmctl"
        var rest = mention
        while tree.groups.contains(path), let word = rest.prefixMatch(of: /([a-z][a-z-]*)(?![A-Za-z\/.=-]) ?/) {
            guard known.contains("\(path) \(word.1)") else { return "there is no command “\(path) \(word.1)”" }
            path += " \(word.1)"
            rest = rest[word.range.upperBound...]
        }
        guard let command = tree.commands.first(where: { $0.name == path }) else { return nil }
        for match in rest.prefix(while: { !"`\"\n;|#&,".contains($0) }).matches(of: /(?:^| )--([a-z][a-z-]*)/) {
            let option = String(match.1)
            guard command.options.contains(option) || option == "help" else { return "“\(path)” has no --\(option)" }
        }
        return nil
    }

    private static let files =
        SourceTree.documents() + ["CHANGELOG.md", "Makefile"]
        + SourceTree.files(below: "docs/man", ending: [".5", ".7", ".8"])
        + SourceTree.files(below: "Sources", ending: [".swift"])
        + SourceTree.files(below: "hooks", ending: [".toml", ".sh", ".yaml", "vtpm-app"])

    /// Returns the texts of a file in which a command may be named without a mark: those of messages, and code.
    private func texts(of file: String) throws -> [String] {
        let text = try SourceTree.text(of: file)
        if file.hasSuffix(".swift") { return StringLiterals.read(text) }
        guard file.hasSuffix(".md") else { return file.hasPrefix("docs/man/") ? [text] : [] }
        return text.split(separator: "\n").filter { $0.hasPrefix("    ") }.map(String.init)
    }

    @Test func everyMentionedCommandExists() throws {
        var count = 0
        for file in Self.files {
            // Between backquotes it is a command anywhere.
            let quoted = try SourceTree.text(of: file).matches(of: /`(vtpmctl [^`]+)`/).map { String($0.1) }
            for text in try texts(of: file) + quoted {
                for match in text.matches(of: /(?:^|[^A-Za-z\/-])vtpmctl (?=[a-z-])/) {
                    // “that vtpmctl understands” is no command.
                    if text[..<match.range.lowerBound].contains(/(?:what|that)$/) { continue }
                    count += 1
                    // What stands after -- is another program's.
                    let words = text[match.range.upperBound...].prefix { $0 != "\n" }
                    let own = words.firstRange(of: " -- ").map { words[..<$0.lowerBound] } ?? words
                    guard let mistake = mistake(in: own) else { continue }
                    Issue.record("\(file): \(mistake)")
                }
            }
        }
        #expect(count > 150)
    }

    @Test func everyCommandIsInADocument() throws {
        let documents = try SourceTree.documents().map(SourceTree.text).joined()
        // Each program has them.
        let general = ["vtpmctl version", "vtpmctl help"]
        for command in tree.commands where !general.contains(command.name) {
            guard !documents.contains(command.name) else { continue }
            Issue.record("neither README.md nor docs has “\(command.name)”")
        }
    }

    /// In the table of README.md.
    @Test func everyGroupIsInREADME() throws {
        let readme = try SourceTree.text(of: "README.md")
        let table = Set(readme.matches(of: /(?m)^\| .*`vtpmctl ([a-z]+)/).map { String($0.1) })
        let first = Set(tree.commands.map { $0.path[1] }).subtracting(["version", "help"])
        for word in first.subtracting(table).sorted() {
            Issue.record("README.md's table of commands lacks “vtpmctl \(word)”")
        }
    }
}
