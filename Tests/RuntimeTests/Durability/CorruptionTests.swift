import Glibc
import Platform
import RuntimeControl
import TestSupport
import Testing

@testable import RuntimeState

/// A state or an index that is not what was written is refused, with one of the known reasons, and left as it is.
@Suite(.serialized) struct CorruptionTests {
    static let material = Result { try RealStates() }
    let real: RealStates

    init() throws {
        real = try Self.material.get()
    }

    static let stateReasons = [
        "it is truncated", "it is not a state file", "its header is damaged", "its payload is damaged",
        "newer than this version's", "it needs the master key", "it is the state of", "older than the last one seen",
        "and this host's index knows",
    ]
    static let indexReasons = [
        "it is truncated", "it is not an index", "it is damaged", "newer than this version's", "needs the master key",
        "an earlier one was put back", "is not bound to it", "its journal is damaged",
    ]

    /// Puts a file in place and has the state opened; returns what is wrong about the answer.
    private func problem(
        _ file: String,
        _ bytes: [UInt8],
        reasons: [String],
        in root: String,
        counter: RecordingCounter.Value = .init()
    ) throws -> String? {
        try Descriptor.open("\(root)/\(file)", OpenOptions(O_WRONLY | O_TRUNC)).writeAll(bytes, file)
        let before = try files(below: root)
        let host = HostUnderTest(root: root, counter: counter)
        do throws(Failure) {
            _ = try host.open("web")
            return "it was accepted"
        } catch {
            guard reasons.contains(where: error.description.contains) else { return "\(error)" }
        }
        return try files(below: root) == before ? nil : "something was changed"
    }

    @Test func whatWasWrittenIsAccepted() throws {
        let scratch = try ScratchDirectory()
        try real.lay(in: scratch.path)
        let outcome = try HostUnderTest(root: scratch.path, counter: .init()).find("web").outcome
        #expect(outcome != .fresh)
    }

    @Test func noCorruptedStateIsAccepted() throws {
        let scratch = try ScratchDirectory()
        try real.lay(in: scratch.path)
        var generator = SeededGenerator(seed: Soak.seed)
        var counts: [Corruption: Int] = [:]
        let total = Soak.count(2000, soak: 70_000)
        for number in 0..<total {
            let (kind, bytes) = try Corruption.any(of: real.state, others: real.otherStates, &generator)
            counts[kind, default: 0] += 1
            let problem = try problem("states/web/state", bytes, reasons: Self.stateReasons, in: scratch.path)
            if let problem { Issue.record("state \(number), \(kind): \(problem) (\(Soak.hint))") }
        }
        #expect(counts.count == Corruption.allCases.count)
        print("corrupted states: \(total) (\(Soak.hint))")
    }

    @Test func noCorruptedIndexIsAccepted() throws {
        let scratch = try ScratchDirectory()
        try real.lay(in: scratch.path)
        // Bound to a counter, without which an earlier index cannot be told from the last one.
        let host = HostUnderTest(root: scratch.path, counter: .init(value: 7))
        try host.index().rebuild(Array(host.index().snapshot().values))
        var others = [try #require(real.index["index"]), real.otherIndex]
        for number in 0..<4 {
            others.append(try #require(try files(below: scratch.path)["index/index"]))
            try host.index().transact { (records) throws(Failure) in
                try records.update("web") { $0.lastUse = UInt64(number) }
            }
        }
        let last = try #require(try files(below: scratch.path)["index/index"])
        let counter = try #require(host.counter).current
        var generator = SeededGenerator(seed: Soak.seed)
        let total = Soak.count(1000, soak: 30_000)
        for number in 0..<total {
            let (kind, bytes) = try Corruption.any(of: last, others: others, &generator)
            let problem = try problem(
                "index/index",
                bytes,
                reasons: Self.indexReasons,
                in: scratch.path,
                counter: counter
            )
            if let problem { Issue.record("index \(number), \(kind): \(problem) (\(Soak.hint))") }
        }
        print("corrupted indexes: \(total) (\(Soak.hint))")
    }

    /// What the root vouches for is as it was, or refused; what means nothing may be anything.
    @Test(arguments: ["tree", "journal"]) func noCorruptedPartOfTheIndexIsTaken(part: String) throws {
        let scratch = try ScratchDirectory()
        let host = HostUnderTest(root: scratch.path, counter: .init())
        for name in ["index", "states"] { _ = try openOwnDirectory("\(scratch.path)/\(name)") }
        // Several leaves below a branch, and a journal with something in it.
        let states = (0..<400).map { "state-\($0)" }
        try host.index().rebuild(
            states.map { IndexEntry(stateID: $0, uuid: [UInt8](repeating: 1, count: 16), generation: 7) }
        )
        for state in states.prefix(20) {
            try host.index().transact { (records) throws(Failure) in try records.update(state) { $0.generation = 8 } }
        }
        let expected = try host.index().snapshot()
        #expect(expected.count == states.count)
        let file = "index/\(part).1"
        let good = try #require(try files(below: scratch.path)[file])
        var generator = SeededGenerator(seed: Soak.seed)
        var refused = 0
        for number in 0..<Soak.count(300, soak: 10_000) {
            let (kind, bytes) = try Corruption.any(of: good, others: [], &generator)
            try Descriptor.open("\(scratch.path)/\(file)", OpenOptions(O_WRONLY | O_TRUNC)).writeAll(bytes, file)
            let what = "\(part) \(number), \(kind) (\(Soak.hint))"
            do throws(Failure) {
                #expect(try host.index().snapshot() == expected, "\(what)")
            } catch {
                refused += 1
                let reasons = ["its \(part) is damaged", "its \(part) is truncated"]
                #expect(reasons.contains(where: error.description.contains), "\(what): \(error)")
            }
        }
        #expect(refused > 0)
    }

    /// The same with the real supervisor, which reads them as root.
    @Test func noSupervisorAcceptsOne() throws {
        let temporary = try TemporaryDirectory()
        try real.lay(in: temporary.path)
        var generator = SeededGenerator(seed: Soak.seed)
        let root = try #require(real.index["index"])
        let total = Soak.count(100, soak: 2000)
        for number in 0..<total {
            let isState = number % 4 != 0
            let (kind, bytes) = try Corruption.any(
                of: isState ? real.state : root,
                others: isState ? real.otherStates : [],
                &generator
            )
            try temporary.write("states/web/state", isState ? bytes : real.state)
            try temporary.write("index/index", isState ? root : bytes)
            let before = try files(below: temporary.path)
            let tpm = try VTPMUnderTest(in: temporary)
            let answer = try tpm.hear()
            let text = String(decoding: answer.body, as: UTF8.self)
            let what = "\(isState ? "state" : "index") \(number), \(kind): \(text) (\(Soak.hint))"
            let reasons = isState ? Self.stateReasons : Self.indexReasons
            #expect(answer.kind == .failure, "\(what)")
            #expect(reasons.contains(where: text.contains), "\(what)")
            #expect(try tpm.reap() == .exited(1), "\(what)")
            #expect(try entries(of: temporary.directory("run"), "") == [], "\(what)")
            #expect(try files(below: temporary.path) == before, "\(what)")
        }
        print("corrupted files for a supervisor: \(total) (\(Soak.hint))")
    }
}
