import Foundation
import Testing

/// Each error that docs/troubleshooting.md quotes is one that the programs print.
@Suite struct TroubleshootingTests {
    private struct Row {
        let line: String
        /// What is quoted, with `…` for names and numbers.
        let quotes: [String]
        let cells: [Substring]
    }

    private static func rows() throws -> [Row] {
        let tables = try SourceTree.text(of: "docs/troubleshooting.md").components(separatedBy: "\n| the error says |")
        return tables.dropFirst().flatMap { table in
            table.split(separator: "\n").dropFirst(2).prefix { $0.hasPrefix("|") }.map { line in
                let cells = line.dropFirst().split(separator: "|", omittingEmptySubsequences: false).dropLast()
                let quotes = (cells.first ?? "").matches(of: /`([^`]+)`/).map { String($0.1) }
                return Row(line: String(line), quotes: quotes, cells: Array(cells))
            }
        }
    }

    /// Returns whether a text has the parts of a quote, one after the other.
    private static func has(_ text: String, _ quote: String) -> Bool {
        var rest = text[...]
        for part in quote.components(separatedBy: "…") where !part.isEmpty {
            guard let found = rest.firstRange(of: part) else { return false }
            rest = rest[found.upperBound...]
        }
        return true
    }

    @Test func eachErrorIsOneOfTheSources() throws {
        let files = SourceTree.files(below: "Sources", ending: [".swift"])
        let literals = try files.flatMap { StringLiterals.read(try SourceTree.text(of: $0)) }
        #expect(literals.count > 3000)
        let rows = try Self.rows()
        #expect(rows.count > 60)
        for row in rows {
            for quote in row.quotes where !literals.contains(where: { Self.has($0, quote) }) {
                Issue.record("docs/troubleshooting.md: no program says “\(quote)”")
            }
        }
    }

    @Test func eachRowSaysWhatHelps() throws {
        for row in try Self.rows() {
            #expect(row.cells.count == 3, "\(row.line)")
            #expect(row.cells.allSatisfy { $0.contains { $0.isLetter } }, "\(row.line)")
            // An error of somebody else's is named as such.
            #expect(!row.quotes.isEmpty || row.line.contains("crun's own"), "it quotes nothing: \(row.line)")
        }
    }

    @Test func noErrorIsThereTwice() throws {
        let quotes = try Self.rows().flatMap(\.quotes).filter { !$0.hasPrefix("cannot read") }
        let repeated = Dictionary(grouping: quotes) { $0 }.filter { $1.count > 1 }.keys
        #expect(Set(repeated) == [])
    }
}
