import Glibc
import Platform
import Testing

@testable import RuntimeConfinement

/// The tables of docs/threat-model.md have the system calls that the code allows, each once and with a reason.
@Suite struct ThreatModelTests {
    @Test(arguments: ["worker", "supervisor"]) func everyAllowedCallHasItsReason(_ program: String) throws {
        let filter = program == "worker" ? SystemCallFilter.worker : .supervisor
        let documented = try documentedCalls(of: program)
        let allowed = filter.rules.map { DocumentedCall(name: $0.call, condition: condition(of: $0)) }
        #expect(Set(documented).count == documented.count, "a call has two rows")
        #expect(Set(allowed).count == allowed.count, "a call has two rules")
        #expect(Set(allowed).subtracting(documented) == [], "allowed, and not in docs/threat-model.md")
        #expect(Set(documented).subtracting(allowed) == [], "in docs/threat-model.md, and not allowed")
    }

    struct DocumentedCall: Hashable {
        let name: String
        let condition: String
    }

    /// What the arguments must be, as the table writes it; nothing where they do not matter.
    private func condition(of rule: SystemCallFilter.Rule) -> String {
        rule.arguments
            .map { "argument \($0.index) & 0x\(String($0.mask, radix: 16)) = 0x\(String($0.value, radix: 16))" }
            .joined(separator: ", ")
    }

    /// The rows of the table below the heading "System calls of the …".
    private func documentedCalls(of program: String) throws -> [DocumentedCall] {
        let text = try text(of: "docs/threat-model.md")
        let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
        let heading = try #require(lines.firstIndex(of: "### System calls of the \(program)"))
        let section = lines[(heading + 1)...].prefix { !$0.hasPrefix("#") }
        var calls: [DocumentedCall] = []
        // A heading and a rule come first.
        for line in section.filter({ $0.hasPrefix("|") }).dropFirst(2) {
            let cells = line.split(separator: "|").map(trimmed)
            try #require(cells.count == 3, "\(line)")
            #expect(!cells[2].isEmpty, "no reason: \(line)")
            for name in cells[0].split(separator: ",").map(trimmed) {
                try #require(name.hasPrefix("`") && name.hasSuffix("`"), "\(line)")
                calls.append(DocumentedCall(name: String(name.dropFirst().dropLast()), condition: cells[1]))
            }
        }
        return calls
    }

    private func trimmed(_ text: Substring) -> String {
        var text = text
        while text.first == " " { text.removeFirst() }
        while text.last == " " { text.removeLast() }
        return String(text)
    }

    private func text(of path: String) throws -> String {
        // Tests/RuntimeTests/Confinement/ThreatModelTests.swift
        let root = #filePath.split(separator: "/").dropLast(4).joined(separator: "/")
        return String(
            decoding: try Descriptor.open("/\(root)/\(path)", .read).readAll(limit: 1 << 20, path),
            as: UTF8.self
        )
    }
}
