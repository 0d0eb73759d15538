import Glibc
import Platform
import Testing

@testable import RuntimeState

/// Something that is done to a host's states, and that a power failure or a disk error can hit at any place.
///
/// A new one goes into ``all``; every test of this folder then runs it.
struct Scenario: Sendable, CustomTestStringConvertible {
    let name: String
    /// The states that are looked at afterwards.
    let states: [String]
    /// The bytes of the master keys that the host has after a crash, the current one first.
    var keysAfterwards: [UInt8] = [1]
    /// Those that it has once all is done or repaired; the others are thrown away then.
    var keysInTheEnd: [UInt8]?
    /// What was done long before, and is all on stable storage.
    var before: @Sendable (HostUnderTest) throws(Failure) -> Void = { (_) throws(Failure) in }
    /// What is done.
    let run: @Sendable (HostUnderTest) throws(Failure) -> Void
    /// What an administrator does after a crash, before the states are used.
    var repair: @Sendable (HostUnderTest) throws(Failure) -> Void = { (_) throws(Failure) in }

    var testDescription: String { name }

    /// A content of more than two blocks of a disk.
    static func large(_ letter: String) -> String { String(repeating: letter, count: 9000) }

    static let all = everyday + administration

    /// What supervisors do.
    static let everyday = [
        Scenario(name: "the first state of a host", states: ["web"]) { (host) throws(Failure) in
            try host.runContainer("web", writing: ["one", large("b"), "three"])
        },
        Scenario(
            name: "a second state",
            states: ["db", "web"],
            before: { (host) throws(Failure) in try host.runContainer("web", writing: ["one"]) }
        ) { (host) throws(Failure) in
            try host.runContainer("db", writing: ["first", "second"])
        },
        Scenario(
            name: "a series of writes",
            states: ["web"],
            before: { (host) throws(Failure) in try host.runContainer("web", writing: [large("a")]) }
        ) { (host) throws(Failure) in
            let store = try host.open("web")
            for content in ["b", large("c"), "", large("d"), "e"] { try host.write(content, to: store, of: "web") }
        },
        Scenario(
            name: "starts and stops",
            states: ["web"],
            before: { (host) throws(Failure) in try host.runContainer("web", writing: ["one"]) }
        ) { (host) throws(Failure) in
            try host.runContainer("web", writing: ["two"])
            try host.runContainer("web", writing: ["three", "four"])
        },
        // A TPM that has a certificate is never without the host's record of it.
        Scenario(name: "a new state with certificates", states: ["web"]) { (host) throws(Failure) in
            let store = try host.open("web")
            store.endorsement = Array("certified".utf8)
            try host.write("TPM with certificates", to: store, of: "web")
            try host.recordUse(of: store, of: "web")
            try host.write("used", to: store, of: "web")
        },
        Scenario(
            name: "a state that gets certificates",
            states: ["web"],
            before: { (host) throws(Failure) in try host.runContainer("web", writing: ["one"]) }
        ) { (host) throws(Failure) in
            let store = try host.open("web")
            store.endorsement = Array("signed".utf8)
            try host.write("one", to: store, of: "web")
            store.endorsement = Array("certified".utf8)
            try host.write("TPM with certificates", to: store, of: "web")
            try host.recordUse(of: store, of: "web")
            try host.write("used", to: store, of: "web")
        },
        Scenario(
            name: "two states at the same time",
            states: ["db", "web"]
        ) { (host) throws(Failure) in
            let web = try host.open("web")
            try host.write("one", to: web, of: "web")
            let db = try host.open("db")
            try host.recordUse(of: web, of: "web")
            try host.write("first", to: db, of: "db")
            try host.write("two", to: web, of: "web")
            try host.recordUse(of: db, of: "db")
            try host.recordUse(of: web, of: "web")
        },
        Scenario(
            name: "leftovers of an earlier crash",
            states: ["db", "web"],
            before: { (host) throws(Failure) in
                try host.runContainer("web", writing: ["one"])
                try host.leave("state.new", in: "states/web")
                try host.leave("state.new", in: "states/.new-db")
                try host.leave("state", in: "states/.new-db")
                try host.leave("index.new", in: "index")
            }
        ) { (host) throws(Failure) in
            try host.runContainer("web", writing: ["two"])
            try host.runContainer("db", writing: ["first"])
        },
        Scenario(
            name: "a creation that is undone",
            states: ["db", "web"],
            before: { (host) throws(Failure) in try host.runContainer("db", writing: ["first"]) }
        ) { (host) throws(Failure) in
            let store = try host.open("web")
            try host.write("one", to: store, of: "web")
            try store.recordUse()
            host.promise(.begins(state: "web", .fresh))
            try store.discard(in: openOwnDirectory("\(host.root)/states"))
            host.promise(.holds(state: "web", .fresh, generation: 0))
        },
        Scenario(
            name: "a killed creation that is undone by another",
            states: ["db", "web"],
            before: { (host) throws(Failure) in
                try host.runContainer("db", writing: ["first"])
                let store = try host.open("web")
                try host.write("one", to: store, of: "web")
                try host.recordUse(of: store, of: "web")
                host.promise(.holds(state: "web", .fresh, generation: 0))
                host.promise(.begins(state: "web", .content("one")))
            }
        ) { (host) throws(Failure) in
            let made = MadeState(stateID: "web", uuid: try host.uuid(of: "web"), user: host.user(of: "web"))
            guard try host.repository().discard(made) != .stays else {
                throw Failure("cannot undo the creation", because: "somebody has used the state")
            }
            host.promise(.holds(state: "web", .fresh, generation: 0))
        },
        Scenario(
            name: "another key for a running state",
            states: ["web"],
            keysAfterwards: [2, 1],
            before: { (host) throws(Failure) in try host.runContainer("web", writing: ["one"]) }
        ) { (host) throws(Failure) in
            let store = try host.open("web")
            try host.recordUse(of: store, of: "web")
            try host.write("two", to: store, of: "web")
            try host.rekey(store, of: "web", to: 2)
            try host.write("three", to: store, of: "web")
            try host.recordUse(of: store, of: "web")
        },
        Scenario(
            name: "another key for the index",
            states: ["web"],
            keysAfterwards: [2, 1],
            keysInTheEnd: [2],
            before: { (host) throws(Failure) in
                try host.runContainer("web", writing: ["one"])
                host.keys = [2, 1]
                // The state goes over to the new key with its next write.
                try host.runContainer("web", writing: ["two"])
            },
            run: { (host) throws(Failure) in try host.index().reencrypt() },
            repair: { (host) throws(Failure) in try host.index().reencrypt() }
        ),
        Scenario(
            name: "an index that is bound to a counter",
            states: ["db", "web"],
            before: { (host) throws(Failure) in
                host.addCounter()
                try host.runContainer("web", writing: ["one"])
            }
        ) { (host) throws(Failure) in
            try host.runContainer("web", writing: ["two"])
            try host.runContainer("db", writing: ["first"])
        },
    ]
}

extension HostUnderTest {
    /// Leaves a file with rubbish in it.
    func leave(_ name: String, in directory: String) throws(Failure) {
        let path = "\(root)/\(directory)"
        _ = try openOwnDirectory(path)
        let options = OpenOptions(O_WRONLY | O_CREAT | O_TRUNC, mode: 0o600)
        try Descriptor.open("\(path)/\(name)", options).writeAll([UInt8](repeating: 0xa5, count: 700), name)
    }
}

/// One run of a scenario on a disk that is recorded.
final class ScenarioRun {
    let scenario: Scenario
    let host: HostUnderTest
    private let temporary: ScratchDirectory
    private let recorder: RecordingDisk
    /// How many events of the recording are from before.
    private(set) var start = 0

    /// Does what came before.
    init(_ scenario: Scenario) throws {
        self.scenario = scenario
        temporary = try ScratchDirectory()
        _ = try openOwnDirectory("\(temporary.path)/states")
        _ = try openOwnDirectory("\(temporary.path)/index")
        recorder = try RecordingDisk(in: temporary.path)
        host = HostUnderTest(root: temporary.path, recording: recorder)
        try scenario.before(host)
        try recorder.restart(in: temporary.path)
        start = recorder.recording.events.count
    }

    /// Does it.
    func perform() throws(Failure) {
        try scenario.run(host)
        throwKeysAway()
    }

    private func throwKeysAway() {
        guard let keys = scenario.keysInTheEnd else { return }
        host.keys = keys
        host.promise(.keys(keys))
    }

    var recording: Recording { recorder.recording }

    /// What was promised until now.
    var promises: Promises {
        var promises = Promises()
        for case .promise(let promise) in recording.events { promises.add(promise) }
        return promises
    }

    /// Does the scenario once for each fault of each of its calls, and looks at what came of it.
    ///
    /// How many calls there are is not the same each time: the index is written where its clock has moved on, and not
    /// where it has not. So it goes on until a call is not reached any more.
    static func each(
        of scenario: Scenario,
        faults: (_ call: Int) -> [FailingDisk.Fault],
        _ examine: (_ run: ScenarioRun, _ fault: FailingDisk.Fault, _ call: Int) throws -> Void
    ) throws {
        var call = 0
        var isReached = true
        while isReached {
            isReached = false
            for fault in faults(call) {
                let run = try ScenarioRun(scenario)
                let disk = run.host.setFault(fault)
                do throws(Failure) {
                    try run.perform()
                    #expect(disk.firstFailure == nil, "\(scenario.name): \(fault) was not told")
                } catch {
                    try #require(disk.firstFailure != nil, "\(scenario.name): \(error)")
                }
                guard disk.firstFailure != nil else { continue }
                isReached = true
                _ = run.host.setFault(nil)
                try examine(run, fault, call)
            }
            call += 1
        }
        #expect(call > 1)
    }

    /// Starts all states again, as the next containers do.
    func goOn() throws {
        _ = host.setFault(nil)
        host.keys = scenario.keysAfterwards
        try scenario.repair(host)
        throwKeysAway()
        for state in scenario.states { try host.runContainer(state, writing: ["again"]) }
    }
}
