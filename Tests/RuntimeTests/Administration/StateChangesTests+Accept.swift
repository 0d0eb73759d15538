import Glibc
import Platform
import RuntimeAdministration
import Testing

@testable import RuntimeState

/// What is accepted as it is, and what is not.
extension StateChangesTests {
    @Test func anOlderStateIsAcceptedOnDemand() throws {
        let old = try host.temporary.read("states/web/state")
        try host.store("two", "web", keys)
        try host.temporary.write("states/web/state", old)
        #expect(host.refusal("web", keys).contains("older than the last one seen"))
        try repository().accept("web")
        #expect(try host.load("web", keys) == "one")
    }

    @Test func allAreAcceptedWhereTheIndexIsLost() throws {
        try host.store("two", "db", keys)
        unlink("\(host.path)/index/index")
        #expect(host.refusal("web", keys).contains("it is missing, and there are states"))
        #expect(try repository().acceptAll() == [])
        #expect(try host.load("web", keys) == "one")
        #expect(try host.load("db", keys) == "two")
    }

    /// Whatever stands in the index's place: to accept all states is what repairs it.
    @Test(arguments: [[], [1], [UInt8](repeating: 0, count: 4096), Array("CVTPMIX\n".utf8) + [0, 2, 0, 0, 0, 0]])
    func allAreAcceptedWhereTheIndexIsUnreadable(file: [UInt8]) throws {
        try host.store("two", "db", keys)
        try host.temporary.write("index/index", file)
        #expect(try repository().acceptAll() == [])
        #expect(try host.load("web", keys) == "one")
        #expect(try host.load("db", keys) == "two")
    }

    @Test func aMissingStateIsNotForgottenByAccepting() throws {
        try host.store("two", "db", keys)
        rename("\(host.path)/states/web", "\(host.path)/elsewhere")
        let refused = try repository().acceptAll()
        #expect(refused.map(\.why) == ["it existed and is missing"])
        #expect(host.refusal("web", keys).contains("it existed and is missing"))
        #expect(try host.load("db", keys) == "two")
        _ = try repository().reset("web", to: Quarantine("\(host.path)/quarantine"))
        #expect(try host.load("web", keys) == "(nothing)")
    }

    @Test func oneTPMIsNotAcceptedTwice() throws {
        // As an interrupted rename leaves it, and as nobody else can make it: the ID is part of the key.
        let header = try host.header("web")
        let copy = StateFile(keyID: header.keyID, uuid: header.uuid, generation: 2, stateID: "db")
        let payload = StatePayload(permanent: try secretCopy(of: [1]), isComplete: true)
        _ = try repository().make(copy, payload, "db") { _ in }
        let refused = try repository().acceptAll()
        #expect(refused.count == 1 && refused[0].why.contains("are one TPM"))
        for stateID in ["web", "db"] { #expect(host.refusal(stateID, keys).contains("does not know it")) }
    }

    @Test func aNewTPMDoesNotTakeTheNameOfARename() throws {
        try repository().index.transact { (records) throws(Failure) in
            try records.update("web") { $0.renamedTo = "new" }
            guard let uuid = try records.entry("web")?.uuid else { return }
            try records.set(IndexEntry(stateID: "new", uuid: uuid, generation: 0, renamedFrom: "web"))
        }
        #expect(host.refusal("new", keys).contains("is being renamed to it"))
        try repository().rename("web", to: "new")
        #expect(try host.load("new", keys) == "one")
    }

    @Test func whatIsDamagedIsNotAccepted() throws {
        try host.store("two", "db", keys)
        try host.temporary.write("states/db/state", [1, 2, 3])
        unlink("\(host.path)/index/index")
        #expect(try repository().acceptAll().count == 1)
        #expect(try host.load("web", keys) == "one")
        #expect(refusal { try repository().accept("db") }.contains("truncated"))
        #expect(host.refusal("db", keys).contains("truncated"))
    }

    /// One that was never manufactured stays so, under whatever name and after whatever else: nothing was promised.
    @Test func anIncompleteStateCanStillBeBegun() throws {
        // As earlier versions began each state.
        try host.open("new", keys).store.write(StatePayload(permanent: SecretBytes(capacity: 1), isComplete: false))
        let next = try MasterKey(secret(2))
        try host.open("new", keys).store.rekey(to: next)
        let both = KeyRing(next, previous: keys.current)
        try host.repository(both).accept("new")
        #expect(try host.load("new", both) == "(nothing)")
        try host.repository(both).rename("new", to: "other")
        #expect(try host.load("other", both) == "(nothing)")
        #expect(try host.repository(both).acceptAll() == [])
        #expect(try host.load("other", both) == "(nothing)")
    }
}
