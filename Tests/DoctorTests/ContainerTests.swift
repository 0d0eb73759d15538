import Glibc
import Platform
import RuntimeControl
import RuntimeLease
import Testing

@testable import Doctor

/// Containers whose init is the test's own process, and whose supervisors are not there.
@Suite struct ContainerTests {
    let fixture: FixtureHost

    init() throws { fixture = try FixtureHost() }

    private func addLease(_ containerID: String) throws -> String {
        let name = try Lease.name(containerID: containerID, bundle: "/bundle")
        try fixture.makeDirectory("/run/container-vtpm/\(name)")
        try #require(chmod(fixture.host.paths.leases, 0o700) == 0)
        let process = try ProcessID(of: getpid())
        let runDirectory = try Descriptor.open(fixture.host.paths.leases, .directory)
        let lease = Lease(
            containerID: containerID,
            bundle: "/bundle",
            stateID: nil,
            initProcess: process,
            supervisor: process,
            worker: process,
            library: nil,
            tpmNumber: 1,
            tpm: "253:1",
            tpmrm: "253:65537"
        )
        switch try OpenLease.open(name, in: runDirectory) {
        case .none: Issue.record("the lease is not there")
        case .some(let opened): try opened.write(lease)
        }
        return name
    }

    private func answer(_ answers: [GrantAnswer]) {
        let arguments = answers.map { $0.lease }.sorted().joined(separator: " ")
        let lines = answers.map { "\($0.line)\n" }.joined()
        fixture.printed["\(fixture.host.paths.program("vtpm-hook")) check-grant \(arguments)"] = lines
    }

    @Test func aTPMWithoutASupervisorIsLost() throws {
        _ = try addLease("web")
        let report = try fixture.report("tpms")
        #expect(report.result == .problem)
        #expect(report.found == "1 lost: web")
    }

    @Test func aContainerWhoseGrantIsGoneIsNamedWithItsCommand() throws {
        let (web, db) = (try addLease("web"), try addLease("db"))
        answer([GrantAnswer(lease: web, .denied), GrantAnswer(lease: db, .allowed)])
        let report = try fixture.report("grants")
        #expect(report.result == .problem)
        #expect(report.found == "1 may not use its TPM any more: web")
        #expect(report.remedy == "vtpmctl grant web")
        answer([GrantAnswer(lease: web, .allowed), GrantAnswer(lease: db, .allowed)])
        #expect(try fixture.report("grants").result == .ok)
    }

    @Test func aContainerThatCannotBeAskedIsUnknown() throws {
        let (web, db) = (try addLease("web"), try addLease("db"))
        answer([GrantAnswer(lease: web, .failed("it is frozen")), GrantAnswer(lease: db, .allowed)])
        #expect(try fixture.report("grants").found == "1 could not be asked, such as web: it is frozen")
        fixture.printed[
            "\(fixture.host.paths.program("vtpm-hook")) check-grant \([web, db].sorted().joined(separator: " "))"
        ] =
            "\(web) allowed\n"
        #expect(try fixture.report("grants").found == "1 could not be asked, such as db: no answer")
    }

    @Test(arguments: [.allowed, .denied, .failed("cannot look: it is dark\n")] as [GrantAnswer.Verdict])
    func anAnswerIsOneLine(verdict: GrantAnswer.Verdict) throws {
        let line = GrantAnswer(lease: "0123", verdict).line
        #expect(!line.contains("\n"))
        #expect(try #require(GrantAnswer(parsing: line)).line == line)
    }

    @Test(arguments: ["", "x", " allowed", "x maybe", "x allowed twice", "x failed"])
    func whatIsNoAnswerIsNone(line: String) {
        #expect(GrantAnswer(parsing: line) == nil)
    }
}
