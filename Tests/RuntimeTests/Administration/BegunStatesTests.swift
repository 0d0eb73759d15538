import Glibc
import Platform
import RuntimeAdministration
import Testing

@testable import RuntimeState

/// What commands do beside a start that is still making a state, and of what such starts have left.
@Suite struct BegunStatesTests {
    let host: HostWithStates
    let keys: KeyRing

    init() throws {
        host = try HostWithStates()
        keys = KeyRing(try MasterKey(secret(1)))
        try host.store("one", "web", keys)
    }

    func repository() throws(Failure) -> StateRepository { try host.repository(keys) }

    /// The record is that of the start, which goes on, and the other state is as it was.
    @Test func noCommandTakesTheNameOfAStateThatIsBeingMade() throws {
        let store = try host.open("new", keys, living: true).store
        let changes: [() throws -> Void] = [
            { try repository().importState("new", try secretCopy(of: [1])) },
            { try repository().rename("web", to: "new") },
        ]
        for change in changes {
            let error = #expect(throws: Failure.self) { try change() }
            #expect(error?.why.contains("container \"new\" uses it") == true, "\(error.map { "\($0)" } ?? "")")
        }
        try store.write(StatePayload(permanent: try secretCopy(of: Array("two".utf8)), isComplete: true))
        try store.recordUse()
        withExtendedLifetime(store) {}
        #expect(try repository().index.entry("new")?.uuid == host.header("new").uuid)
        #expect(try host.load("web", keys) == "one")
    }

    /// The record of another instance is never changed.
    @Test func aUseIsNotRecordedInAnothersPlace() throws {
        let store = try host.open("web", keys).store
        try repository().index.transact { (records) throws(Failure) in
            try records.set(IndexEntry(stateID: "web", uuid: [UInt8](repeating: 7, count: 16), generation: 0))
        }
        let error = #expect(throws: Failure.self) { try store.recordUse() }
        #expect(error?.why == "the host's index has another instance in its place")
    }

    /// A start that was refused, and killed before it removed its directory.
    @Test func theRecordOfALostStateStaysWhateverAStartHasLeft() throws {
        #expect(unlink("\(host.path)/states/web/state") == 0)
        let pruning = Pruning(
            try repository(),
            ContainerInventory(root: host.path) { _ in nil },
            now: UInt64(clamping: time(nil)) + 86_400
        )
        var found: [String] = []
        try pruning.each(.init(unusedFor: 3600)) { (candidate) throws(Failure) in found.append(candidate.stateID) }
        #expect(found == [])
        #expect(host.refusal("web", keys).contains("it existed and is missing"))
    }

    @Test func aLostStateIsRefusedWhereTheIndexIsUnreadable() throws {
        #expect(unlink("\(host.path)/states/web/state") == 0)
        try host.temporary.write("index/index", [1, 2, 3])
        let refused = try repository().acceptAll()
        #expect(refused.map(\.why) == ["it existed and is missing"])
    }

    /// Killed before its lock, with it, and with a part of its first write.
    @Test(arguments: [[], ["lock"], ["lock", "state.new"]]) func whatAStartHasLeftIsNoState(files: [String]) throws {
        mkdir("\(host.path)/states/new", 0o700)
        for file in files { try host.temporary.write("states/new/\(file)", []) }
        #expect(try repository().summaries().map(\.stateID) == ["web"])
        #expect(try repository().verifyAll().map(\.stateID) == ["web"])
        #expect(try host.load("new", keys) == "(nothing)")
    }

    /// The lock is one of a directory that has been removed, under whose name there is another by now.
    @Test func anOperatorsLockIsThatOfTheStateAsItIs() throws {
        guard let old = try repository().open("web") else {
            Issue.record("there is no state")
            return
        }
        #expect(rename("\(host.path)/states/web", "\(host.path)/elsewhere") == 0)
        mkdir("\(host.path)/states/web", 0o700)
        let error = #expect(throws: Failure.self) { _ = try repository().lockForOperator(old, "web", of: "web").run {} }
        #expect(error?.why == "it was removed meanwhile" && error?.code == EWOULDBLOCK)
    }
}
