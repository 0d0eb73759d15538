import Glibc
import Platform
import RuntimeAdministration
import Testing

@testable import RuntimeState

@Suite struct StateChangesTests {
    let host: HostWithStates
    let keys: KeyRing

    init() throws {
        host = try HostWithStates()
        keys = KeyRing(try MasterKey(secret(1)))
        try host.store("one", "web", keys)
    }

    func repository() throws(Failure) -> StateRepository { try host.repository(keys) }

    func refusal(_ body: () throws -> Void) -> String {
        let error = #expect(throws: Failure.self) { try body() }
        return error?.description ?? ""
    }

    // MARK: - rename

    @Test func aRenamedStateIsTheSameUnderAnotherName() throws {
        let before = try host.header("web")
        try repository().rename("web", to: "a/b")
        #expect(try host.load("a/b", keys) == "one")
        #expect(try host.header("a/b").uuid == before.uuid)
        #expect(try host.header("a/b").generation > before.generation)
        #expect(!host.temporary.exists("states/web"))
        // The old name is free: a new TPM.
        #expect(try host.load("web", keys) == "(nothing)")
    }

    @Test func aRenameTakesNoOtherStatesPlace() throws {
        try host.store("two", "db", keys)
        #expect(refusal { try repository().rename("web", to: "db") }.contains("there is a state \"db\""))
        #expect(try host.load("web", keys) == "one")
        #expect(try host.load("db", keys) == "two")
        #expect(refusal { try repository().rename("web", to: "web") }.contains("it has that name"))
        #expect(refusal { try repository().rename("none", to: "new") }.contains("there is none"))
    }

    /// Also where its supervisor was killed: the container lives.
    @Test(arguments: [true, false]) func aStateThatIsInUseStaysAsItIs(isHeld: Bool) throws {
        var store: StateStore? = try host.open("web", keys, living: true).store
        if !isHeld { store = nil }
        for change in [
            { try repository().rename("web", to: "new") }, { try repository().purge("web") },
            { _ = try repository().reset("web", to: Quarantine("\(host.path)/quarantine")) },
            { try repository().accept("web") }, { _ = try repository().exportState("web") },
        ] {
            #expect(refusal(change).contains("container \"web\" uses it"))
        }
        withExtendedLifetime(store) {}
        #expect(try host.header("web").generation == 1)
    }

    @Test func aRenameThatWasInterruptedIsCompletedAndNothingElse() throws {
        // As a crash leaves it after the first step.
        try repository().index.transact { (records) throws(Failure) in
            try records.update("web") { $0.renamedTo = "new" }
            guard let uuid = try records.entry("web")?.uuid else { return }
            try records.set(IndexEntry(stateID: "new", uuid: uuid, generation: 0, renamedFrom: "web"))
        }
        #expect(host.refusal("web", keys).contains("it is being renamed to \"new\""))
        #expect(refusal { try repository().rename("web", to: "other") }.contains("it is being renamed to \"new\""))
        try repository().rename("web", to: "new")
        #expect(try host.load("new", keys) == "one")
    }

    /// Whatever was killed, no copy of a state that was removed can be found afterwards.
    @Test func aPurgeLeavesNoCopyThatARenameMade() throws {
        try repository().index.transact { (records) throws(Failure) in
            try records.update("web") { $0.renamedTo = "new" }
            guard let uuid = try records.entry("web")?.uuid else { return }
            try records.set(IndexEntry(stateID: "new", uuid: uuid, generation: 0, renamedFrom: "web"))
        }
        // As a kill before the last step of `makeDirectory` leaves it: a whole state under a temporary name.
        let half = "\(host.path)/states/.new-new"
        _ = try openOwnDirectory(half)
        try host.temporary.write("states/.new-new/state", host.temporary.read("states/web/state"))
        for change in [
            { try repository().purge("web") }, { try repository().purge("new") },
            { _ = try repository().reset("web", to: Quarantine("\(host.path)/quarantine")) },
            { try repository().accept("web") },
        ] {
            #expect(refusal(change).contains("being renamed to"))
        }
        #expect(access(half, F_OK) != 0)
        try repository().rename("web", to: "new")
        try repository().purge("new")
        #expect(try entries(of: host.temporary.directory("states"), "") == [])
        #expect(try repository().index.snapshot() == [:])
    }

    @Test func aMissingIndexIsWhatIsSaidOfEachState() throws {
        unlink("\(host.path)/index/index")
        let why = "it is missing, and there are states that it should know"
        #expect(refusal { try repository().verify("web") }.contains(why))
        #expect(try repository().verifyAll().allSatisfy { $0.problem != nil })
        #expect(host.refusal("web", keys).contains(why))
    }

    @Test func whatAnImportLeftGoesWithTheNextChange() throws {
        _ = try openOwnDirectory("\(host.path)/states/.new-other")
        try host.temporary.write("states/.new-other/state", host.temporary.read("states/web/state"))
        try repository().purge("web")
        #expect(try entries(of: host.temporary.directory("states"), "") == [])
    }

    /// What has the name of something left over and is none keeps nobody from removing states.
    @Test func whatIsNoLeftoverIsPassedOver() throws {
        try host.temporary.write("states/.new-file", [1])
        _ = try openOwnDirectory("\(host.path)/states/.old-full/inside")
        symlink("web", "\(host.path)/states/.old-link")
        try repository().purge("web")
        let left = try entries(of: host.temporary.directory("states"), "").sorted()
        #expect(left == [".new-file", ".old-full", ".old-link"])
    }

    /// What lies among the states and is none is named, and nobody is kept from anything by it.
    @Test func whatIsNoStateIsPassedOver() throws {
        try host.temporary.write("states/notes", [1])
        _ = try openOwnDirectory("\(host.path)/states/empty")
        symlink("web", "\(host.path)/states/link")
        let list = try repository().summaries()
        #expect(list.map(\.stateID) == ["link", "notes", "web"])
        #expect(list.map { $0.problem == nil } == [false, false, true])
        #expect(list[0].problem?.contains("it is no directory") == true)
        #expect(list[1].problem?.contains("it is no directory") == true)
        let verified = try repository().verifyAll()
        #expect(verified.map { $0.problem == nil } == [false, false, true])
        #expect(try host.load("web", keys) == "one")
        let refused = try repository().acceptAll()
        #expect(refused.count == 2)
        try repository().purge("web")
    }

    // MARK: - purge and reset

    @Test func aPurgedStateIsGone() throws {
        try repository().purge("web")
        #expect(try entries(of: host.temporary.directory("states"), "") == [])
        #expect(try host.load("web", keys) == "(nothing)")
        #expect(refusal { try repository().purge("none") }.contains("there is none"))
    }

    @Test func aResetStateIsPutAside() throws {
        let file = try host.temporary.read("states/web/state")
        let quarantine = Quarantine("\(host.path)/quarantine")
        let place = try #require(try repository().reset("web", to: quarantine))
        #expect(try Descriptor.open("\(place)/state", .read).readAll(limit: 1 << 20, "") == file)
        let found = try quarantine.list()
        #expect(found.map(\.stateID) == ["web"])
        #expect(found.map(\.path) == [place])
        #expect(try host.load("web", keys) == "(nothing)")
    }

    @Test func aDamagedStateCanBeReset() throws {
        try host.temporary.write("states/web/state", [1, 2, 3])
        let quarantine = Quarantine("\(host.path)/quarantine")
        _ = try repository().reset("web", to: quarantine)
        #expect(try quarantine.list().map(\.stateID) == [nil])
        #expect(try host.load("web", keys) == "(nothing)")
    }

    @Test func aLostStateCanBeReset() throws {
        rename("\(host.path)/states/web", "\(host.path)/elsewhere")
        #expect(host.refusal("web", keys).contains("it existed and is missing"))
        #expect(try repository().reset("web", to: Quarantine("\(host.path)/quarantine")) == nil)
        #expect(try host.load("web", keys) == "(nothing)")
    }

    // MARK: - in and out

    @Test func whatIsTakenCanBeBrought() throws {
        let taken = try repository().exportState("web")
        try repository().importState("new", taken)
        #expect(try host.load("new", keys) == "one")
        #expect(try host.header("new").uuid != host.header("web").uuid)
        #expect(refusal { try repository().importState("web", taken) }.contains("there is one"))
        try repository().importState("first", taken)
        #expect(try host.load("first", keys) == "one")
    }

    @Test func whatWasNeverManufacturedIsNotTaken() throws {
        try host.open("empty", keys).store.write(StatePayload(permanent: SecretBytes(capacity: 1), isComplete: false))
        #expect(refusal { _ = try repository().exportState("empty") }.contains("never manufactured"))
    }

    /// What a killed creation has left is no state: it is neither listed nor in anybody's way.
    @Test func whatWasOnlyBegunIsNoState() throws {
        _ = try host.open("begun", keys)
        mkdir("\(host.path)/states/locked", 0o700)
        try host.temporary.write("states/locked/lock", [])
        #expect(try repository().summaries().map(\.stateID) == ["web"])
        #expect(try repository().summary(of: "begun") == nil)
        #expect(try repository().verifyAll().map { $0.problem == nil } == [true])
        #expect(refusal { _ = try repository().exportState("begun") }.contains("there is none"))
        #expect(refusal { try repository().accept("begun") }.contains("there is none"))
        #expect(try repository().acceptAll() == [])
        let next = KeyRing(try MasterKey(secret(2)), previous: keys.current)
        let rotation = KeyRotation(
            try host.repository(next),
            quarantine: Quarantine("\(host.path)/quarantine"),
            leases: "\(host.path)/run"
        )
        let report = try rotation.run(timeout: 1000)
        #expect(report.refused == [] && report.strangers == [] && report.atRest == 1)
        #expect(try rotation.remaining() == [])
        #expect(try host.load("begun", next) == "(nothing)")
        try host.repository(next).rename("web", to: "begun")
        #expect(try host.load("begun", next) == "one")
        try host.repository(next).importState("locked", secretCopy(of: Array("two".utf8)))
        #expect(try host.load("locked", next) == "two")
    }

    /// A state that was complete and has lost its file is none that was only begun.
    @Test func aLostFileIsListed() throws {
        unlink("\(host.path)/states/web/state")
        #expect(try repository().summaries().map(\.problem) == ["it existed and is missing"])
        #expect(host.refusal("web", keys).contains("it existed and is missing"))
    }
}
