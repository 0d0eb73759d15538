import Foundation
import Testing

@testable import Doctor

/// Holds together what the hook refuses, the checks that foretell it, and the page that explains them.
@Suite struct RefusalTests {
    /// A line of `refusals.txt`.
    private struct Rule {
        let verdict: String
        let place: String
        let reason: String

        func covers(_ refusal: Refusal) -> Bool {
            guard refusal.file == place || refusal.file.hasPrefix("\(place)/") else { return false }
            return reason.isEmpty || refusal.reason.contains(reason)
        }
    }

    /// A failure in the sources: its file, and how the source goes on after `because:`.
    private struct Refusal {
        let file: String
        let reason: String
    }

    private static let verdicts = ["container", "chance", "defect"]
    /// What a creation never calls.
    private static let others = ["Administration", "Transfer"].map { "Runtime/\($0)/" }
    private static let folders = ["OCIHook", "Systemd", "VTPMProxy", "Configuration", "Runtime", "Platform"]

    private let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent()
    private let rules: [Rule]
    private let refusals: [Refusal]

    init() throws {
        let table = try String(contentsOf: root.appending(path: "Tests/DoctorTests/refusals.txt"), encoding: .utf8)
        rules = table.split(separator: "\n").filter { !$0.hasPrefix("#") }.map { line in
            let fields = line.split(separator: "|", maxSplits: 2, omittingEmptySubsequences: false).map { $0.trimmed }
            return Rule(verdict: fields[0], place: fields[1], reason: fields[2])
        }
        var refusals: [Refusal] = []
        for folder in Self.folders {
            let sources = root.appending(path: "Sources")
            let start = sources.appending(path: folder)
            let files = try #require(FileManager.default.enumerator(at: start, includingPropertiesForKeys: nil))
            for case let file as URL in files where file.pathExtension == "swift" {
                let name = String(file.path.dropFirst(sources.path.count + 1))
                if Self.others.contains(where: name.hasPrefix) { continue }
                let parts = try String(contentsOf: file, encoding: .utf8).components(separatedBy: "because:")
                    .dropFirst()
                refusals += parts.map { Refusal(file: name, reason: String($0.prefix(160))) }
            }
        }
        self.refusals = refusals
    }

    @Test func eachRefusalHasACheckOrIsAContainersOwn() {
        #expect(refusals.count > 200)
        for refusal in refusals where !rules.contains(where: { $0.covers(refusal) }) {
            Issue.record("add a line to refusals.txt: \(refusal.file):\(refusal.reason)")
        }
    }

    @Test func noLineIsWithoutARefusal() {
        for rule in rules where !refusals.contains(where: rule.covers) {
            Issue.record("nothing is refused there any more: \(rule)")
        }
    }

    @Test func eachLineNamesACheck() {
        let known = Self.verdicts + Check.all.map { $0.id }
        for rule in rules { #expect(known.contains(rule.verdict), "\(rule)") }
    }

    @Test func thePageExplainsEachCheckAndNoOther() throws {
        let page = try String(contentsOf: root.appending(path: "docs/operations.md"), encoding: .utf8)
        let table = try #require(page.components(separatedBy: "| check | what").last)
        let section = try #require(table.components(separatedBy: "\n\n").first)
        let rows = section.split(separator: "\n").filter { $0.hasPrefix("| `") }
        #expect(
            rows.compactMap { $0.split(separator: "`").dropFirst().first.map(String.init) } == Check.all.map { $0.id }
        )
    }
}
