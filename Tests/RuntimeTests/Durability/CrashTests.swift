import Platform
import TestSupport
import Testing

/// After a power failure at any place each state is as it was acknowledged last, or as it was about to be.
@Suite(.serialized) struct CrashTests {
    @Test(arguments: Scenario.all) func everyPlaceOfAPowerFailure(_ scenario: Scenario) throws {
        let run = try ScenarioRun(scenario)
        try run.perform()
        let recording = run.recording
        let plain = recording.moments(from: run.start).flatMap { moment in
            [CrashPoint.Luck.lost, .kept, .namesKept].map {
                CrashPoint(events: moment.events, written: moment.written, luck: $0)
            }
        }
        for point in plain + recording.unluckyDirectories(from: run.start) {
            if let problem = try recording.problem(at: point, of: scenario) { Issue.record("\(problem)") }
        }
    }

    @Test func anyPowerFailure() throws {
        var generator = SeededGenerator(seed: Soak.seed)
        let count = Soak.count(400, soak: 10_000)
        let runs = try Scenario.all.map { scenario in
            let run = try ScenarioRun(scenario)
            try run.perform()
            return run
        }
        for _ in 0..<count {
            let run = try #require(runs.randomElement(using: &generator))
            let recording = run.recording
            let point = Self.anyPoint(in: recording, from: run.start, &generator)
            if let problem = try recording.problem(at: point, of: run.scenario) { Issue.record("\(problem)") }
        }
        print("power failures at random places: \(count) (\(Soak.hint))")
    }

    /// What a killed process left unsynced is seen by the next one, which must not build on it.
    @Test(arguments: Scenario.all) func aPowerFailureAfterAKill(_ scenario: Scenario) throws {
        var generator = SeededGenerator(seed: Soak.seed)
        try ScenarioRun.each(of: scenario, faults: { [.dies(call: $0)] }) { (run, _, call) in
            let killed = run.recording.events.count
            try run.goOn()
            let recording = run.recording
            // What is found first is what may be unsynced; later on all has been written anew.
            let promises = recording.promises(from: killed).prefix(Soak.count(4, soak: .max))
            var points = (promises + [recording.events.count]).map {
                CrashPoint(events: $0, written: nil, luck: .lost)
            }
            points += recording.unluckyDirectories(from: killed)
            for _ in 0..<Soak.count(2, soak: 100) {
                points.append(Self.anyPoint(in: recording, from: killed, &generator))
            }
            for point in points {
                guard let problem = try recording.problem(at: point, of: scenario) else { continue }
                Issue.record("killed before call \(call), and then: \(problem)")
            }
        }
    }

    private static func anyPoint(
        in recording: Recording,
        from start: Int,
        _ generator: inout SeededGenerator
    ) -> CrashPoint {
        let index = Int.random(in: start...recording.events.count, using: &generator)
        var written: Int?
        if index < recording.events.count, let bytes = recording.events[index].written {
            written = Int.random(in: 0...bytes.count, using: &generator)
        }
        let luck = [
            CrashPoint.Luck.lost, .kept, .namesKept, .any(generator.next()), .any(generator.next()),
            .any(generator.next()), .any(generator.next()), .any(generator.next()),
        ].randomElement(using: &generator)
        return CrashPoint(events: index, written: written, luck: luck ?? .lost)
    }
}
