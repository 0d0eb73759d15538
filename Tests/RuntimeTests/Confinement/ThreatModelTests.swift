import Glibc
import Platform
import Testing

@testable import RuntimeFilter

/// The tables of docs/threat-model.md have the system calls that the code allows, refuses in a way of its own, or ends a
/// program for, each once and with a reason.
@Suite struct ThreatModelTests {
    static let filters = [
        "worker": SystemCallFilter.worker, "supervisor": SystemCallFilter.supervisor, "ca": SystemCallFilter.ca,
    ]

    @Test(arguments: filters.keys) func everyCallHasItsReason(_ program: String) throws {
        let rules = try #require(Self.filters[program]).rules
        let ends =
            try documentedCalls("System calls that end either", .kill)
            + documentedCalls("System calls that end the \(program)", .kill)
        let documented = try documentedCalls("System calls of the \(program)") + ends
        let listed = rules.map { DocumentedCall(name: $0.call, condition: condition(of: $0), action: $0.action) }
        #expect(Set(documented).count == documented.count, "a call has two rows")
        #expect(Set(listed).count == listed.count, "a call has two rules")
        #expect(Set(listed).subtracting(documented) == [], "in the code, and not in docs/threat-model.md")
        // What is the end for one program may be allowed to the other.
        let own = Set(rules.filter { $0.arguments.isEmpty && $0.action == .allow }.map(\.call))
        let missing = Set(documented).subtracting(listed).filter { $0.action != .kill || !own.contains($0.name) }
        #expect(missing == [], "in docs/threat-model.md, and not in the code")
    }

    struct DocumentedCall: Hashable {
        let name: String
        let condition: String
        let action: SystemCallFilter.Action
    }

    /// What the arguments must be, as the table writes it; nothing where they do not matter.
    private func condition(of rule: SystemCallFilter.Rule) -> String {
        rule.arguments
            .map { argument in
                let (mask, value) = (String(argument.mask, radix: 16), String(argument.value, radix: 16))
                return "argument \(argument.index) & 0x\(mask) \(argument.differs ? "≠" : "=") 0x\(value)"
            }
            .joined(separator: ", ")
    }

    static let errors: [String: CInt] = ["EACCES": EACCES, "ENOENT": ENOENT, "ENOTTY": ENOTTY]

    /// What the reason says of a call's end; without a word, the call is allowed.
    private func action(of reason: String) throws -> SystemCallFilter.Action {
        guard let match = reason.firstMatch(of: /^fails with (\w+)/) else { return .allow }
        return .refuse(try #require(Self.errors[String(match.1)], "\(reason)"))
    }

    /// The rows of the table below a heading.
    private func documentedCalls(
        _ heading: String,
        _ action: SystemCallFilter.Action? = nil
    ) throws -> [DocumentedCall] {
        let text = try text(of: "docs/threat-model.md")
        let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
        let first = try #require(lines.firstIndex(of: "### \(heading)"))
        let section = lines[(first + 1)...].prefix { !$0.hasPrefix("#") }
        var calls: [DocumentedCall] = []
        // A heading and a rule come first.
        for line in section.filter({ $0.hasPrefix("|") }).dropFirst(2) {
            let cells = line.split(separator: "|").map(trimmed)
            try #require(cells.count == 3, "\(line)")
            #expect(!cells[2].isEmpty, "no reason: \(line)")
            for name in cells[0].split(separator: ",").map(trimmed) {
                try #require(name.hasPrefix("`") && name.hasSuffix("`"), "\(line)")
                let name = String(name.dropFirst().dropLast())
                let action = try action ?? self.action(of: cells[2])
                calls.append(DocumentedCall(name: name, condition: cells[1], action: action))
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
