import Platform
import Testing

@testable import Doctor

/// A shell stands in for the program that runs the checks.
@Suite struct ExaminationTests {
    private let checks = ["a", "b", "c"].map { id in
        Check(id, "one") { (_) throws(Failure) in
            throw Failure("cannot check", because: "this is not the process for it")
        }
    }

    private func line(_ id: String) -> String {
        """
        {"id":"\(id)","title":"one","result":"ok","found":"well","refusesContainers":false}
        """
    }

    /// Returns what was reported by a script for the process that begins with each check.
    private func run(timeout: Int = 60_000, _ scripts: [String: String]) throws -> [Report] {
        var reports: [Report] = []
        let examination = Examination(checks, timeout: timeout) { first in
            ProgramLaunch("/bin/sh", ["sh", "-c", scripts[first.id] ?? "exit 9"])
        }
        try examination.run { (report) throws(Failure) in reports.append(report) }
        return reports
    }

    private func say(_ ids: String...) -> String {
        "printf '%s\\n' " + ids.map { "'\(line($0))'" }.joined(separator: " ")
    }

    @Test func oneProcessRunsAllChecks() throws {
        let reports = try run(["a": say("a", "b", "c")])
        #expect(reports.map { $0.id } == ["a", "b", "c"])
        #expect(reports.allSatisfy { $0.result == .ok })
    }

    @Test func aCheckThatHangsIsGivenUpAlone() throws {
        let reports = try run(timeout: 500, ["a": say("a") + "; exec sleep 1000", "c": say("c")])
        #expect(reports.map { $0.result } == [.ok, .unknown, .ok])
        #expect(reports[1].found.contains("took too long"))
    }

    @Test func aCheckThatEndsItsProcessIsUnknown() throws {
        let reports = try run(["a": say("a") + "; kill -SEGV $$", "c": say("c")])
        #expect(reports.map { $0.result } == [.ok, .unknown, .ok])
        #expect(reports[1].found.contains("signal 11"))
    }

    @Test func aReportThatMakesNoSenseIsUnknown() throws {
        let reports = try run(["a": "echo nonsense", "b": say("c"), "c": "printf '%s' '\(line("c"))'"])
        #expect(reports.map { $0.result } == [.unknown, .unknown, .unknown])
        #expect(reports[0].found.contains("makes no sense"))
        #expect(reports[1].found.contains("another answered"))
        #expect(reports[2].found.contains("exit code 0"))
    }

    @Test func aProgramThatCannotBeStartedLeavesAllUnknown() throws {
        var reports: [Report] = []
        let examination = Examination(checks) { _ in ProgramLaunch("/nowhere", ["nowhere"]) }
        try examination.run { (report) throws(Failure) in reports.append(report) }
        #expect(reports.map { $0.result } == [.unknown, .unknown, .unknown])
        #expect(reports[0].found.contains("No such file or directory"))
    }

    @Test func theProcessServesFromItsCheckOn() throws {
        let fixture = try FixtureHost()
        var lines: [String] = []
        try Examination.serve(from: "cri-o", on: fixture.host) { (line) throws(Failure) in lines.append(line) }
        #expect(lines.count == Check.all.drop { $0.id != "cri-o" }.count)
        #expect(lines.first?.contains("\"id\":\"cri-o\"") ?? false)
    }
}
