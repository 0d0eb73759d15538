import Glibc
import Platform

@testable import RuntimeState

/// Looks at what is left on a host after a crash or an error, and goes on with it.
struct Aftermath {
    let scenario: Scenario
    let promises: Promises

    /// What is wrong on a host; nothing where all is as promised.
    ///
    /// Each state is loaded, used, and loaded again.
    func problem(on host: HostUnderTest) -> String? {
        host.keys = promises.keys ?? scenario.keysAfterwards
        do throws(Failure) {
            try scenario.repair(host)
            if let problem = try indexProblem(on: host) { return problem }
            for state in scenario.states {
                if let problem = try problem(of: state, on: host) { return "\(state): \(problem)" }
            }
            return try leftover(on: host).map { "left behind: \($0)" }
        } catch {
            return "\(error)"
        }
    }

    private func indexProblem(on host: HostUnderTest) throws(Failure) -> String? {
        let entries = try host.index().snapshot()
        for (state, generation) in promises.remembered {
            guard let entry = entries[try StateDirectoryName.encoded(state)] else {
                return "the index has forgotten \(state)"
            }
            guard entry.generation >= generation else {
                return "the index remembers \(state) at \(entry.generation), not at \(generation)"
            }
        }
        return nil
    }

    private func problem(of state: String, on host: HostUnderTest) throws(Failure) -> String? {
        let expected = promises.outcomes(of: state)
        var record: [UInt8] = []
        do throws(Failure) {
            let (store, outcome) = try host.find(state)
            guard expected.contains(outcome) else {
                return "it is \(Self.brief(outcome)), not \(expected.map(Self.brief))"
            }
            let generation = promises.generation(of: state)
            guard outcome == .fresh || store.generation >= generation else {
                return "it is generation \(store.generation), not \(generation)"
            }
            guard access("\(host.root)/states/\(try StateDirectoryName.encoded(state))/state.new", F_OK) != 0 else {
                return "an unfinished write is still there"
            }
            record = store.endorsement
            try host.recordUse(of: store, of: state)
            try host.write("afterwards", to: store, of: state)
            try host.recordUse(of: store, of: state)
        } catch {
            let isExpected = expected.contains {
                if case .refused(let words) = $0 { error.description.contains(words) } else { false }
            }
            if isExpected { return nil }
            throw error
        }
        let again = try host.find(state).outcome
        let written = HostUnderTest.text("afterwards", recorded: record)
        return again == .content(written) ? nil : "what was written afterwards is \(Self.brief(again))"
    }

    /// A file that nobody needs.
    private func leftover(on host: HostUnderTest) throws(Failure) -> String? {
        let states = try openOwnDirectory("\(host.root)/states")
        for name in try entries(of: states, "states") {
            if name.hasPrefix(".") { return name }
            let directory = try Descriptor.open(name, .directory, at: states.number)
            for file in try entries(of: directory, name) where !["lock", "state"].contains(file) {
                return "\(name)/\(file)"
            }
        }
        // A tree that was replaced goes at the latest when the next changes are put into the tree.
        try host.index().reencrypt()
        let index = try openOwnDirectory("\(host.root)/index")
        let names = try entries(of: index, "index")
        // The two locks, the root, and one tree and one journal.
        if let other = names.first(where: { !Self.isOfIndex($0) }) { return other }
        return names.filter { $0.hasPrefix("tree.") }.count > 1 ? "a second tree" : nil
    }

    private static func isOfIndex(_ name: String) -> Bool {
        ["lock", "root", "index"].contains(name) || name.hasPrefix("tree.") || name.hasPrefix("journal.")
    }

    private static func brief(_ outcome: Outcome) -> String {
        switch outcome {
        case .fresh: "to be manufactured"
        case .content(let text): "\"\(text.prefix(12))\""
        case .refused(let words): "refused: \(words)"
        }
    }
}

extension Recording {
    /// What is wrong after a power failure at this point; nothing where all is as promised.
    func problem(at point: CrashPoint, of scenario: Scenario) throws -> String? {
        let model = CrashModel(self, at: point)
        let scratch = try ScratchDirectory()
        try model.materialize(point.luck, in: scratch.path)
        let host = HostUnderTest(root: scratch.path, counter: model.promises.counter)
        guard let problem = Aftermath(scenario: scenario, promises: model.promises).problem(on: host) else {
            return nil
        }
        let last = events.prefix(point.events).suffix(4).map { "\($0)" }.joined(separator: "; ")
        return "\(scenario.name), \(point): \(problem) [\(last)] (\(Soak.hint))"
    }

    /// The places from an event on at which somebody has just been promised something.
    func promises(from start: Int) -> [Int] {
        func isPromise(_ index: Int) -> Bool {
            guard index < events.count, case .promise(let promise) = events[index] else { return false }
            if case .begins = promise { return false }
            return true
        }
        return (start..<events.count).filter { isPromise($0) && !isPromise($0 + 1) }.map { $0 + 1 }
    }

    /// The places from an event on at which changes of several directories are not synced, each of which alone is lost.
    func unluckyDirectories(from start: Int) -> [CrashPoint] {
        (start...events.count).flatMap { index in
            let unsynced = CrashModel(self, at: CrashPoint(events: index, written: nil, luck: .lost)).unsynced
            guard unsynced.count > 1 else { return [CrashPoint]() }
            return unsynced.map { CrashPoint(events: index, written: nil, luck: .lostIn($0)) }
        }
    }

    /// All places at which the power can fail from an event on, those within a write included.
    func moments(from start: Int) -> [(events: Int, written: Int?)] {
        (start...events.count).flatMap { index in
            var moments: [(events: Int, written: Int?)] = [(index, nil)]
            if index < events.count, let bytes = events[index].written, bytes.count > 2 {
                moments += [1, bytes.count / 2, bytes.count - 1].map { (index, $0) }
            }
            return moments
        }
    }
}
