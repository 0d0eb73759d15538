import Glibc
import Platform
import Testing

@testable import RuntimeState

/// A disk that is full or broken: the operation fails, nothing is lost, and the next try succeeds.
@Suite(.serialized) struct DiskErrorTests {
    static let codes = [ENOSPC, EIO, EDQUOT]

    /// Every way in which one call can fail.
    static func faults(call: Int) -> [FailingDisk.Fault] {
        let codes = Soak.isOn ? codes : [codes[call % codes.count]]
        let parts = Soak.isOn ? Array(0..<8) : [0, 3]
        return codes.flatMap { code in parts.map { .fails(call: call, code: code, written: $0) } } + [.dies(call: call)]
    }

    @Test(arguments: Scenario.all) func everyCallFails(_ scenario: Scenario) throws {
        try ScenarioRun.each(of: scenario, faults: Self.faults) { (run, fault, _) in
            let aftermath = Aftermath(scenario: scenario, promises: run.promises)
            guard let problem = aftermath.problem(on: run.host) else { return }
            Issue.record("\(scenario.name), \(fault): \(problem)")
        }
    }

    /// What is on disk after an error that nothing is done about, when then the power fails.
    @Test(arguments: Scenario.all) func aPowerFailureAfterAnError(_ scenario: Scenario) throws {
        let faults = { (call: Int) in [FailingDisk.Fault.fails(call: call, code: EIO, written: call % 8)] }
        try ScenarioRun.each(of: scenario, faults: faults) { (run, _, call) in
            try run.goOn()
            let recording = run.recording
            for luck in [CrashPoint.Luck.lost, .any(Soak.seed &+ UInt64(call))] {
                let point = CrashPoint(events: recording.events.count, written: nil, luck: luck)
                guard let problem = try recording.problem(at: point, of: scenario) else { continue }
                Issue.record("after an error of call \(call): \(problem)")
            }
        }
    }

    /// The supervisor goes on with the key that it has, and is asked again.
    @Test(arguments: [true, false]) func aChangeOfKeysThatFailedIsRepeated(isWrittenInBetween: Bool) throws {
        let scenario = Scenario(name: "", states: ["web"], keysAfterwards: [2, 1]) { (host) throws(Failure) in
            try host.runContainer("web", writing: ["one"])
        }
        // Create, write, sync, rename and sync of the directory.
        for call in 0..<5 {
            let run = try ScenarioRun(scenario)
            try run.perform()
            let disk = run.host.setFault(nil)
            do {
                let store = try run.host.open("web")
                disk.arm(.fails(call: call, code: EIO, written: 0))
                #expect(throws: Failure.self) { try run.host.rekey(store, of: "web", to: 2) }
                try #require(disk.firstFailure != nil)
                disk.arm(nil)
                if isWrittenInBetween { try run.host.write("two", to: store, of: "web") }
                try run.host.rekey(store, of: "web", to: 2)
            }
            let file = try Descriptor.open("\(run.host.root)/states/web/state", .read).readAll(limit: 1 << 20, "")
            #expect(try StateFile(parsing: file, path: "").keyID == HostUnderTest.master(2).id)
            let aftermath = Aftermath(scenario: scenario, promises: run.promises)
            if let problem = aftermath.problem(on: run.host) { Issue.record("call \(call): \(problem)") }
        }
    }
}
