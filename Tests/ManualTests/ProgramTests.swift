import Foundation
import Testing

/// Each program that is installed comes with all that CONTRIBUTING.md lists for it, or with a reason.
@Suite struct ProgramTests {
    /// What a program comes with.
    enum Part: String, CaseIterable {
        case systemCalls = "a list of system calls"
        case appArmor = "an AppArmor profile"
        case page = "a page in the manual"
        case package = "an entry in the Makefile"
        case doctor = "a row in vtpmctl doctor"
        case threatModel = "a row in the threat model"
        case fuzzer = "a fuzzer for what it parses"

        /// What to do about a program without it.
        var remedy: String {
            switch self {
            case .systemCalls: "a SystemCallFilter, and its table in docs/threat-model.md"
            case .appArmor: "AppArmor/PROGRAM, which the Makefile loads (PROFILES)"
            case .page: "docs/man/PROGRAM.8"
            case .package: "the Makefile's list of programs to install"
            case .doctor: "ProgramChecks in Sources/Doctor/Checks/Programs.swift"
            case .threatModel: "docs/threat-model.md, “The programs”"
            case .fuzzer: "Tests/Fuzz/Entries, and `fuzzers` in ProgramTests.swift"
            }
        }
    }

    /// What a program does without, and how the cell of its row in the threat model begins to say why.
    private static let exceptions: [String: [Part: String]] = [
        "vtpm-hook": [.systemCalls: "no list of system calls: "],
        "vtpm-run": [
            .systemCalls: "no list of system calls, and no profile: ", .appArmor: "and no profile: ",
            .fuzzer: "no fuzzer: ",
        ],
        "vtpm-runtime": [.systemCalls: "no list of system calls, and no profile: ", .appArmor: "and no profile: "],
        "vtpm-systemd": [.systemCalls: "no list of system calls: ", .fuzzer: "no fuzzer: "],
        "vtpmctl": [.systemCalls: "no list of system calls: "],
    ]

    /// The fuzzers of what a program parses.
    private static let fuzzers: [String: Set<String>] = [
        "vtpm-ca": ["authority"],
        "vtpm-hook": [
            "bundle-config", "configuration", "container-state", "device-filter", "json-text", "kernel-text",
            "launch", "proof", "prepared-config",
        ],
        "vtpm-runtime": ["configuration", "invocation"],
        "vtpm-supervisor": ["control", "index", "state-file"],
        "vtpm-worker": ["worker"],
        "vtpmctl": ["engine-text", "export", "log-line", "swtpm-state"],
    ]

    private static let programs = (try? SourceTree.programs()) ?? []

    private static func words(after pattern: Regex<(Substring, Substring)>, in path: String) throws -> [String] {
        let match = try #require(try SourceTree.text(of: path).firstMatch(of: pattern), "\(path)")
        return match.1.split { " ,\"\n".contains($0) }.map(String.init)
    }

    /// The rows of the threat model's table of programs, by the program's name.
    private static func rows() throws -> [String: String] {
        let text = try SourceTree.text(of: "docs/threat-model.md")
        let section = try #require(text.components(separatedBy: "\n## The programs\n").dropFirst().first)
        let rows = section.split(separator: "\n").drop { !$0.hasPrefix("|") }.prefix { $0.hasPrefix("|") }
        return Dictionary(
            uniqueKeysWithValues: rows.compactMap { row in
                row.firstMatch(of: /^\| `([^`]+)` \|/).map { (String($0.1), String(row)) }
            }
        )
    }

    private static func targets() throws -> Set<String> {
        let entries = try SourceTree.text(of: "Tests/Fuzz/Entries/FuzzTarget.swift")
        return Set(entries.matches(of: /(?m)^    case (\w+)(?: = "([^"]+)")?$/).map { String($0.2 ?? $0.1) })
    }

    /// Returns whether a program comes with a part.
    private static func has(_ program: String, _ part: Part) throws -> Bool {
        switch part {
        case .systemCalls:
            let name = program.replacing("vtpm-", with: "")
            let filters = SourceTree.files(below: "Sources/Runtime/Filter", ending: [".swift"])
            let code = try filters.map(SourceTree.text).joined()
            let isDocumented = try SourceTree.text(of: "docs/threat-model.md").contains(
                "### System calls of the \(name)\n"
            )
            return isDocumented && code.contains("static let \(name): SystemCallFilter")
        case .appArmor:
            let isLoaded = try !words(after: /\nPROFILES := \$\(filter-out ([^,]+),/, in: "Makefile").contains(program)
            return SourceTree.exists("AppArmor/\(program)") && isLoaded
        case .page:
            return SourceTree.exists("docs/man/\(program).8")
        case .package:
            return try program == "vtpmctl" || words(after: /\nPROGRAMS := (.+)/, in: "Makefile").contains(program)
        case .doctor:
            let list = /names = \[([^\]]+)\]/
            return try words(after: list, in: "Sources/Doctor/Checks/Programs.swift").contains(program)
        case .threatModel:
            return try rows()[program] != nil
        case .fuzzer:
            return try !(fuzzers[program] ?? []).intersection(targets()).isEmpty
        }
    }

    @Test(arguments: programs) func aProgramComesWithAllParts(program: String) throws {
        for part in Part.allCases {
            let isThere = try Self.has(program, part)
            guard let reason = Self.exceptions[program]?[part] else {
                #expect(
                    isThere,
                    "\(program) lacks \(part.rawValue): \(part.remedy.replacing("PROGRAM", with: program))"
                )
                continue
            }
            #expect(!isThere, "\(program) has \(part.rawValue): take the exception out")
            let row = try Self.rows()[program] ?? ""
            #expect(row.contains(reason), "docs/threat-model.md does not say why \(program) has not \(part.rawValue)")
        }
    }

    @Test func nothingIsThereForAnotherProgram() throws {
        let known = Set(Self.programs)
        #expect(known.count >= 6)
        #expect(try Set(Self.rows().keys) == known, "docs/threat-model.md, “The programs”")
        #expect(Set(Self.exceptions.keys).subtracting(known) == [])
        let profiles = try FileManager.default.contentsOfDirectory(
            atPath: SourceTree.root.appending(path: "AppArmor").path
        )
        #expect(Set(profiles.filter { $0.hasPrefix("vtpm") }).subtracting(known) == [], "AppArmor")
        let installed = try Self.words(after: /\nPROGRAMS := (.+)/, in: "Makefile")
        #expect(Set(installed).union(["vtpmctl"]) == known, "PROGRAMS in the Makefile")
    }

    @Test func everyFuzzerIsForAProgram() throws {
        let targets = try Self.targets()
        #expect(targets.count >= 15)
        let named = Self.fuzzers.values.reduce(into: Set<String>()) { $0.formUnion($1) }
        #expect(named == targets, "`fuzzers` in ProgramTests.swift and Tests/Fuzz/Entries")
        for target in targets { #expect(SourceTree.exists("Tests/Fuzz/Corpus/\(target)"), "\(target)") }
    }

    @Test func contributorsAreToldOfEachPart() throws {
        let text = try SourceTree.text(of: "CONTRIBUTING.md").replacing("\n  ", with: " ")
        let rule = try #require(text.split(separator: "\n").first { $0.contains("A new program comes with") })
        for part in Part.allCases {
            #expect(rule.contains(part.rawValue), "CONTRIBUTING.md does not name \(part.rawValue)")
        }
    }
}
