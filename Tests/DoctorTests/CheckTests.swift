import Platform
import Testing

@testable import Doctor

@Suite struct CheckTests {
    let fixture: FixtureHost

    init() throws { fixture = try FixtureHost() }

    @Test func everyCheckHasANameOfItsOwn() {
        let names = Check.all.map { $0.id }
        #expect(Set(names).count == names.count)
        #expect(names.allSatisfy { $0.allSatisfy { $0.isLowercase || $0 == "-" } })
    }

    /// Those that start programs, or look at what is no text, are tried elsewhere.
    @Test func onAGoodHostNothingHasToBeMended() throws {
        try fixture.write("/usr/sbin/runc", "", mode: 0o755)
        fixture.printed["/usr/sbin/runc --version"] = "runc version 1.1.15+ds1\n"
        for check in Check.all where !["worker", "hook", "programs", "root"].contains(check.id) {
            let report = check.run(on: fixture.host)
            #expect([.ok, .note].contains(report.result), "\(report)")
        }
    }

    @Test func aFolderWithNothingInItIsExaminedToo() throws {
        try fixture.remove("")
        for check in Check.all { _ = check.run(on: fixture.host) }
    }

    @Test func aFailureToLookIsUnknownAndSaysWhy() {
        let check = Check("x", "x") { (_) throws(Failure) in
            throw Failure("cannot look", because: "it is dark", hint: "switch the light on")
        }
        let report = check.run(on: fixture.host)
        #expect(report.result == .unknown)
        #expect(report.found == "cannot look: it is dark")
        #expect(report.remedy == "switch the light on")
    }

    @Test func theExitCodeTellsRefusalsFromTheRest() {
        func reports(_ findings: Finding...) -> [Report] {
            findings.map { finding in Report(of: Check("x", "x") { _ in finding }, finding) }
        }
        #expect(reports(.ok("a"), .note("b")).exitCode == 0)
        #expect(reports(.ok("a"), .problem("b", remedy: "c")).exitCode == 2)
        #expect(reports(.unknown("b")).exitCode == 2)
        #expect(reports(.problem("a", remedy: "c"), .refusal("b", remedy: "c")).exitCode == 1)
    }

    @Test func whatAHostSaysStaysOnOneLine() throws {
        try fixture.write("/sys/kernel/security/lsm", "landlock,\u{1b}[2Jx")
        #expect(try fixture.report("security-modules").found == "landlock,?[2Jx")
    }
}
