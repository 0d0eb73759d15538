import Configuration
import Foundation
import Platform
import Testing

/// The parser of the configuration, its page in the manual, docs/configuration.md and the sample have the same keys.
@Suite struct ConfigurationPageTests {
    /// The keys of each table; tables below another are no keys.
    private let known: [String: Set<String>]

    init() throws {
        var known: [String: Set<String>] = [:]
        for table in try Self.list(after: "known tables: ", in: Self.refusal("x = 1")) {
            known[table] = try Self.list(after: "known keys of [\(table)]: ", in: Self.refusal("[\(table)]\nx = 1"))
        }
        for (table, keys) in known {
            for key in keys where Self.refusal("[\(table).\(key)]\nx = 1").contains("known keys of [\(table).\(key)]") {
                let below = "\(table).\(key)"
                known[below] = try Self.list(after: "known keys of [\(below)]: ", in: Self.refusal("[\(below)]\nx = 1"))
                known[table]?.remove(key)
            }
        }
        self.known = known
    }

    /// Returns the error about a mistake, in which the parser lists what it knows.
    private static func refusal(_ text: String) -> String {
        do throws(Failure) {
            _ = try Configuration(parsing: Array(text.utf8), path: "file")
            return ""
        } catch {
            return "\(error)"
        }
    }

    private static func list(after words: String, in error: String) throws -> Set<String> {
        let rest = try #require(error.components(separatedBy: words).dropFirst().first, "\(error)")
        return Set(rest.prefix { $0 != ")" }.split(separator: ", ").map { $0.filter { $0 != "\"" } })
    }

    private func compare(_ found: [String: Set<String>], with expected: [String: Set<String>], in file: String) {
        for table in Set(found.keys).union(expected.keys).sorted() {
            guard let shown = found[table] else {
                Issue.record("\(file) lacks the table [\(table)]")
                continue
            }
            guard let keys = expected[table] else {
                Issue.record("\(file): there is no table [\(table)]")
                continue
            }
            for key in keys.subtracting(shown).sorted() { Issue.record("\(file), [\(table)]: it lacks “\(key)”") }
            for key in shown.subtracting(keys).sorted() { Issue.record("\(file), [\(table)]: there is no “\(key)”") }
        }
    }

    /// `[key.next]` has the keys of `[key]`, and no document lists them twice.
    private var withoutCopies: [String: Set<String>] {
        known.merging(["key.next": []]) { $1 }
    }

    @Test func theParserTellsWhatItKnows() {
        #expect(known.count >= 9)
        #expect(known["key.next"] == known["key"])
    }

    @Test func thePageHasEveryKey() throws {
        let page = try ManualPage("container-vtpm.toml.5")
        let tables = page.sections("Ss").map { section in
            let keys = section.items.filter { $0.hasPrefix("Sy ") }.map { String($0.dropFirst(3)) }
            return (String(section.heading.dropFirst().dropLast()), Set(keys))
        }
        compare(Dictionary(uniqueKeysWithValues: tables), with: withoutCopies, in: "docs/man/\(page.file)")
    }

    @Test func theDocumentHasEveryKey() throws {
        let text = try SourceTree.text(of: "docs/configuration.md")
        var found: [String: Set<String>] = [:]
        for part in text.components(separatedBy: "\n## `[").dropFirst() {
            let table = try #require(part.components(separatedBy: "\n| key |").dropFirst().first)
            let rows = table.split(separator: "\n").dropFirst(2).prefix { $0.hasPrefix("|") }
            let keys = rows.compactMap { $0.firstMatch(of: /^\| `([^`]+)`/)?.1 }
            found[String(part.prefix { $0 != "]" })] = Set(keys.map(String.init))
        }
        if text.contains("`[key.next]` has the same keys") { found["key.next"] = [] }
        compare(found, with: withoutCopies, in: "docs/configuration.md")
    }

    @Test func theSampleHasEveryKey() throws {
        var (table, found) = ("", [String: Set<String>]())
        for line in try SourceTree.text(of: "hooks/config.toml").split(separator: "\n") {
            if let match = line.wholeMatch(of: /#?\[(.+)\]/) { table = String(match.1) }
            if let match = line.prefixMatch(of: /[#]([a-z-]+) =/) { found[table, default: []].insert(String(match.1)) }
        }
        found["key.next"]?.subtract(known["key"] ?? [])
        compare(found, with: withoutCopies, in: "hooks/config.toml")
    }

    @Test(arguments: ["container/tpm", "state/id", "state/scope", "key/source", "rollback/counter"])
    func theDocumentsHaveEveryValue(place: String) throws {
        let (table, key) = (place.split(separator: "/")[0], place.split(separator: "/")[1])
        let values = try Self.list(after: "known: ", in: Self.refusal("[\(table)]\n\(key) = \"none of these\""))
        #expect(values.count > 1)
        let page = try ManualPage("container-vtpm.toml.5")
        let section = try #require(page.sections("Ss").first { $0.heading == "[\(table)]" })
        let lines = section.lines.drop { $0 != ".It Sy \(key)" }.dropFirst().prefix { !$0.hasPrefix(".It ") }
        let document = try SourceTree.text(of: "docs/configuration.md")
        for value in values {
            #expect(lines.contains { $0.hasPrefix(".Ql \(value)") }, "docs/man/\(page.file), \(key): it lacks \(value)")
            #expect(document.contains("`\"\(value)\"`"), "docs/configuration.md, \(key): it lacks \(value)")
        }
    }

    /// Those that the hook reads, the table of docs/configuration.md and the overview.
    @Test func theAnnotationsAreTheSameEverywhere() throws {
        func names(_ text: some StringProtocol) -> Set<String> {
            Set(String(text).matches(of: /org\.container-vtpm\.([a-z][a-z-]*)/).map { String($0.1) })
        }
        let sources = try SourceTree.files(below: "Sources/OCIHook", ending: [".swift"]).map(SourceTree.text).joined()
        let part = try SourceTree.text(of: "docs/configuration.md").components(separatedBy: "\n## Annotations\n")
        let table =
            part.last.map { $0.split(separator: "\n").prefix { $0.hasPrefix("|") }.joined(separator: "\n") } ?? ""
        let overview = try ManualPage("container-vtpm.7").sections("Ss").first { $0.heading == "Annotations" }
        let known = names(sources)
        #expect(known.count >= 3)
        #expect(names(table) == known, "docs/configuration.md")
        #expect(names((overview?.items ?? []).joined(separator: "\n")) == known, "docs/man/container-vtpm.7")
    }
}
