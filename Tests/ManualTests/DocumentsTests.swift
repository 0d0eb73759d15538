import Foundation
import Testing

/// README.md and docs lead somewhere, and what README.md promises for the first five minutes is what a case runs.
@Suite struct DocumentsTests {
    @Test func linksLeadToFiles() throws {
        var count = 0
        for document in SourceTree.documents() + ["CHANGELOG.md", "AppArmor/README.md"] {
            let folder = document.split(separator: "/").dropLast().map { "\($0)/" }.joined()
            for match in try SourceTree.text(of: document).matches(of: /\]\(([^)#:]+)(?:#[^)]*)?\)/) {
                count += 1
                #expect(SourceTree.exists(folder + match.1), "\(document): there is no \(match.1)")
            }
        }
        #expect(count > 70)
    }

    @Test func everyDocumentIsInREADME() throws {
        let readme = try SourceTree.text(of: "README.md")
        for document in SourceTree.documents() where document != "README.md" {
            guard !readme.contains("[\(document)](\(document)) |") else { continue }
            Issue.record("README.md's table of documents lacks \(document)")
        }
    }

    /// A case runs them by `commands_of README.md`, as they stand there; nothing else may be promised.
    @Test func casesRunTheCommandsOfTheFirstFiveMinutes() throws {
        let readme = try SourceTree.text(of: "README.md").components(
            separatedBy: "\n## Five minutes to the first TPM\n"
        )
        let part = try #require(readme.dropFirst().first?.components(separatedBy: "\n## ").first)
        let headings = part.matches(of: /(?m)^### (.+)$/).map { String($0.1) }
        #expect(Set(headings).isSuperset(of: ["docker", "podman", "containerd", "Kubernetes", "runc"]))
        let cases = try SourceTree.files(below: "Tests/Guest/cases", ending: [".sh"]).map(SourceTree.text).joined()
        let single = cases.matches(of: /(?:commands_of README\.md|first_tpm) ([A-Za-z]+)/).map { String($0.1) }
        let several = cases.matches(of: /for heading in ([^;]+);/).flatMap {
            $0.1.split(separator: " ").map(String.init)
        }
        for heading in headings where !(single + several).contains(heading) {
            Issue.record("no case below Tests/Guest/cases runs the commands of README.md, “\(heading)”")
        }
        for heading in single + several where !headings.contains(heading) {
            Issue.record("README.md has no heading “\(heading)”, whose commands a case runs")
        }
    }
}
