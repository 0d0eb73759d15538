import CLinux
import Glibc
import Platform
import Testing

@testable import RuntimeAdministration
@testable import RuntimeState

/// A backup that is made while states are used, and what is found after a restore.
@Suite struct StateBackupTests {
    let host: HostWithStates
    let keys: KeyRing
    let target: TemporaryDirectory

    init() throws {
        host = try HostWithStates()
        target = try TemporaryDirectory()
        keys = KeyRing(try MasterKey(secret(1)))
        for stateID in ["db", "web", "x/y"] { try host.store(stateID, stateID, keys) }
    }

    func backUp(
        _ name: String = "backup",
        _ repository: StateRepository? = nil,
        progress: (Int) -> Void = { _ in }
    ) throws -> StateBackup.Report {
        let repository = try repository ?? host.repository(keys)
        let parent = try Descriptor.open(target.path, .directory)
        return try StateBackup(of: repository)
            .write(to: name, in: parent, path: "\(target.path)/\(name)", progress: progress)
    }

    /// Another host, with the files of a backup.
    func restored(_ name: String = "backup") throws -> HostWithStates {
        let other = try HostWithStates()
        let copy = ProgramLaunch("/bin/cp", ["cp", "-a", "\(target.path)/\(name)/.", other.path])
        try #require(try copy.start().wait() == .exited(0))
        return other
    }

    func problems(of host: HostWithStates, _ keys: KeyRing? = nil) throws -> [String] {
        try host.repository(keys ?? self.keys).verifyAll().compactMap { $0.problem?.description }
    }

    func files(below path: String) throws -> [String] {
        var found: [String] = []
        for name in try entries(of: Descriptor.open(path, .directory), path).sorted() {
            var status = stat()
            try #require(lstat("\(path)/\(name)", &status) == 0)
            let mode = String(status.st_mode & 0o7777, radix: 8)
            if status.st_mode & S_IFMT == S_IFDIR {
                found.append("\(mode) \(name)/")
                found += try files(below: "\(path)/\(name)").map { "\($0.prefix(4))\(name)/\($0.dropFirst(4))" }
            } else {
                found.append("\(mode) \(name)")
            }
        }
        return found
    }

    // MARK: - What is in it

    @Test func aRestoredBackupIsWhatWasThere() throws {
        #expect(try backUp() == StateBackup.Report(copied: 3))
        #expect(
            try files(below: target.path) == [
                "700 backup/", "700 backup/index/", "600 backup/index/index", "600 backup/index/journal.1",
                "600 backup/index/tree.1", "700 backup/states/", "700 backup/states/db/", "600 backup/states/db/state",
                "700 backup/states/web/", "600 backup/states/web/state", "700 backup/states/x%2Fy/",
                "600 backup/states/x%2Fy/state",
            ]
        )
        let other = try restored()
        #expect(try problems(of: other) == [])
        #expect(try other.repository(keys).index.snapshot() == host.repository(keys).index.snapshot())
        for stateID in ["db", "web", "x/y"] { #expect(try other.load(stateID, keys) == stateID) }
    }

    /// Its name is not among those with which the backup began.
    @Test func aStateThatIsRenamedMeanwhileIsInIt() throws {
        var isRenamed = false
        let report = try backUp { _ in
            guard !isRenamed else { return }
            isRenamed = true
            #expect(throws: Never.self) { try host.repository(keys).rename("web", to: "a") }
        }
        #expect(report == StateBackup.Report(copied: 3))
        let other = try restored()
        #expect(try problems(of: other) == [])
        #expect(try other.load("a", keys) == "web")
    }

    /// Whoever reads the backup has no sector of the file that is still written.
    @Test func aStateIsWrittenWithAnotherSalt() throws {
        let before = try host.temporary.read("states/web/state")
        _ = try backUp()
        let copied = try target.read("backup/states/web/state")
        let salts = try [before, copied].map { file in
            guard case .slots(let slots, _) = try StateFile(parsing: file, path: "").form else { return [] as [UInt8] }
            return slots.salt
        }
        #expect(salts[0] != salts[1])
        #expect(try host.temporary.read("states/web/state") == before)
    }

    /// A backup that is made during a rotation needs one key.
    @Test func allIsUnderTheCurrentKey() throws {
        let alone = KeyRing(try MasterKey(secret(2)))
        let both = KeyRing(alone.current, previous: keys.current)
        #expect(try backUp("backup", host.repository(both)).refused == [])
        let other = try restored()
        #expect(try problems(of: other, alone) == [])
        #expect(try other.load("web", alone) == "web")
    }

    @Test func filesOfTheFirstVersionAreTakenAlong() throws {
        let header = try host.header("web")
        let own = try keys.current.instanceKeys(uuid: header.uuid, stateID: "web")
        let old = FirstStateFormat(keyID: header.keyID, uuid: header.uuid, generation: 7, stateID: "web")
        let file = try old.encode(items: stateItem(1, [0x61]) + stateItem(2, []), keys: own)
        try host.temporary.write("states/web/state", file)
        _ = try backUp()
        let other = try restored()
        #expect(try problems(of: other) == [])
        #expect(try other.header("web").generation == 7)
        #expect(try other.load("web", keys) == "a")
    }

    /// A TPM that was never manufactured is none after a restore either.
    @Test func aStateThatIsOnlyBegunIsNotInIt() throws {
        _ = try host.open("new", keys)
        #expect(try backUp() == StateBackup.Report(copied: 3))
        let other = try restored()
        #expect(try problems(of: other) == [])
        #expect(try other.load("new", keys) == "(nothing)")
    }

    @Test func aHostWithoutStatesHasABackup() throws {
        for stateID in ["db", "web", "x/y"] { try host.repository(keys).purge(stateID) }
        #expect(try backUp() == StateBackup.Report())
        #expect(try problems(of: restored()) == [])
    }

    // MARK: - While states are used

    @Test func eachStateIsAsItWasAcknowledgedOrLater() throws {
        let load = StatesUnderLoad()
        try load.write("web", of: host, keys)
        try load.write("db", of: host, keys, restarting: true)
        load.repeat { [host, keys] in
            try host.store("here and gone", "x/y", keys)
            try host.repository(keys).purge("x/y")
        }
        for number in 0..<10 {
            let before = load.acknowledgedSoFar()
            #expect(try backUp("\(number)").refused == [])
            let other = try restored("\(number)")
            #expect(try problems(of: other) == [])
            for stateID in ["db", "web"] {
                let found = StatesUnderLoad.number(in: try other.open(stateID, keys).payload)
                #expect(try #require(found) >= #require(before[stateID]))
            }
        }
        #expect(load.stop() == [])
    }

    /// Each of these comes when the names have been read, and before the state is.
    @Test func whatChangesMeanwhileIsNoError() throws {
        var isFirst = true
        let report = try backUp { [host, keys] _ in
            guard isFirst else { return }
            isFirst = false
            #expect(throws: Never.self) {
                try host.repository(keys).purge("x/y")
                try host.repository(keys).purge("web")
                try host.store("another TPM", "web", keys)
                try host.store("a later state", "db", keys)
                try host.store("new", "new", keys)
            }
        }
        #expect(report == StateBackup.Report(copied: 3))
        let other = try restored()
        #expect(try problems(of: other) == [])
        #expect(try other.repository(keys).index.snapshot().keys.sorted() == ["db", "new", "web"])
        #expect(try other.load("web", keys) == "another TPM")
        #expect(try other.load("db", keys) == "a later state")
    }

    // MARK: - What cannot be copied

    /// The index of the backup does not forget such a state.
    @Test func aStateThatCannotBeUsedIsNamedAndTheOthersAreCopied() throws {
        let old = try host.temporary.read("states/db/state")
        try host.store("newer", "db", keys)
        try host.temporary.write("states/db/state", old)
        try host.store("four", "gone", keys)
        rename("\(host.path)/states/gone", "\(host.path)/elsewhere")
        var file = try host.temporary.read("states/web/state")
        file[file.count - 1] ^= 1
        try host.temporary.write("states/web/state", file)
        try host.temporary.write("states/notes", [1])
        let report = try backUp()
        #expect(report.copied == 1)
        let states = "\(host.path)/states"
        #expect(
            report.refused.map { "\($0.what): \($0.why)" } == [
                "cannot load the state \(states)/db/state: it is generation 1, older than the last one seen, 2",
                "cannot load the state \(states)/gone/state: it existed and is missing",
                "cannot load the state \(states)/web/state: \(StateSlotsTests.damaged)",
            ]
        )
        let other = try restored()
        #expect(try problems(of: other).count == 3)
        #expect(try problems(of: other).allSatisfy { $0.contains("it existed and is missing") })
        #expect(try other.load("x/y", keys) == "x/y")
    }

    @Test func aStateThatTheIndexDoesNotKnowIsNamed() throws {
        mkdir("\(host.path)/states/copy", 0o700)
        try host.temporary.write("states/copy/state", host.temporary.read("states/web/state"))
        let report = try backUp()
        #expect(report.copied == 3)
        #expect(report.refused.map(\.why) == ["this host's index does not know it: it was copied or restored"])
    }

    @Test func withoutAnIndexThereIsNoBackup() throws {
        unlink("\(host.path)/index/index")
        let failure = #expect(throws: Failure.self) { try backUp() }
        #expect(failure?.why == "it is missing, and there are states that it should know")
        #expect(try files(below: target.path) == [])
    }

    // MARK: - The counter

    private func use(_ stateID: String, of host: HostWithStates, _ counter: MemoryCounter) throws {
        let user = StateUser(containerID: "web", initProcess: ProcessID(process: 1, startTime: 1), supervisor: 1)
        let repository = try host.repository(keys, counter: counter)
        let store = try StateStore.open(stateID, in: repository, for: user, until: Deadline(milliseconds: 9000)).store
        try store.write(StatePayload(permanent: secretCopy(of: [1]), isComplete: true))
        try store.recordUse()
    }

    /// A backup is as old as the counter's value that it has: what is used later has another.
    @Test func theCounterTellsWhetherABackupIsTheLastState() throws {
        let counter = MemoryCounter()
        try use("web", of: host, counter)
        let value = counter.value
        #expect(try backUp("first", host.repository(keys, counter: counter)).refused == [])
        #expect(counter.value == value)
        // Nothing was used since: the backup is the last state.
        try use("web", of: restored("first"), counter)
        let failure = #expect(throws: Failure.self) { try use("web", of: restored("first"), counter) }
        #expect(failure?.why.contains("an earlier one was put back") == true)
        #expect(try problems(of: restored("first")) == [])
        #expect(try restored("first").refusal("web", keys).contains("it is bound to the host TPM's counter"))
    }

    /// What is used while the backup is made makes it an earlier one, in whatever order its parts are read.
    @Test func aUseInBetweenMakesABackupAnEarlierOne() throws {
        let counter = MemoryCounter()
        try use("web", of: host, counter)
        var count = 0
        _ = try backUp("backup", host.repository(keys, counter: counter)) { _ in
            count += 1
            // `db` has been copied.
            if count == 2 { #expect(throws: Never.self) { try use("db", of: host, counter) } }
        }
        let failure = #expect(throws: Failure.self) { try use("web", of: restored(), counter) }
        #expect(failure?.why.contains("an earlier one was put back") == true)
    }
}
