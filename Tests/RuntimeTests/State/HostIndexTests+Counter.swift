import CLinux
import Crypto
import Glibc
import Platform
import Testing

@testable import RuntimeState

// An index that is bound to a counter, and what its files are bound to.
extension HostIndexTests {
    @Test func anEarlierOneIsFoundOut() throws {
        try set(3, in: index(counter: counter))
        let earlier = file
        try set(4, in: index(counter: counter))
        #expect(try generation(in: index(counter: counter)) == 4)
        try put(earlier)
        let text = refusal { _ = try generation(in: index(counter: counter)) }
        #expect(text.contains("an earlier one was put back"), "\(text)")
    }

    @Test func withoutACounterAnEarlierOneIsNot() throws {
        try set(3, in: index())
        let earlier = try files(below: "\(temporary.path)/index")
        try set(4, in: index())
        for (name, bytes) in earlier { try temporary.write("index/\(name)", bytes) }
        #expect(try generation(in: index()) == 3)
    }

    @Test func aRootAloneThatWasPutBackForgetsNothing() throws {
        try set(3, in: index())
        let earlier = file
        try set(4, in: index())
        try put(earlier)
        #expect(try generation(in: index()) == 4)
    }

    @Test func theOneStepInFlightIsTolerated() throws {
        try set(3, in: index(counter: counter))
        counter.isBroken = true
        #expect(throws: Failure.self) { try set(4, in: index(counter: counter)) }
        counter.isBroken = false
        let value = try #require(counter.value)
        #expect(try generation(in: index(counter: counter)) == 4)
        #expect(counter.value == value + 1)
        try set(5, in: index(counter: counter))
        #expect(try generation(in: index(counter: counter)) == 5)
    }

    /// Somebody else has written a root between the look at the counter and the write, and was killed before it raised it.
    @Test func nobodyIsASecondStepAhead() throws {
        try set(3, in: index(counter: counter))
        let second = try index(counter: counter)
        let confirmed = try second.confirmCounter()
        let value = try #require(counter.value)
        #expect(confirmed.value == value && !confirmed.mustBind)
        counter.isBroken = true
        #expect(throws: Failure.self) { try set(4, in: index(counter: counter)) }
        counter.isBroken = false
        #expect(try #require(try second.load()).counter == value + 1)
        guard case .root(let root) = try second.load() else {
            throw Failure("cannot test", because: "there is no root")
        }
        // Its change is in that root already, and is promised only when the counter knows it.
        try second.commit((root.epoch, root.sequence), confirmed)
        #expect(counter.value == value + 1)
        // The same with a change that is not in it.
        counter.isBroken = true
        #expect(throws: Failure.self) { try set(5, in: index(counter: counter)) }
        counter.isBroken = false
        try second.commit((root.epoch, root.sequence), confirmed)
        #expect(try #require(try second.load()).counter == counter.value)
        #expect(try generation(in: index(counter: counter)) == 5)
    }

    /// A change that came between an index and the one that was made in its place is no success.
    @Test func aChangeThatIsNotInTheIndexIsAnError() throws {
        try set(3, in: index())
        let second = try index()
        guard case .root(let root) = try second.load() else {
            throw Failure("cannot test", because: "there is no root")
        }
        try index().rebuild([IndexEntry(stateID: "web", uuid: uuid, generation: 2)])
        let error = #expect(throws: Failure.self) { try second.commit((root.epoch, root.sequence), .init()) }
        #expect(error?.why.contains("made it anew meanwhile") == true)
        unlink("\(temporary.path)/index/index")
        #expect(throws: Failure.self) { try second.commit((root.epoch, root.sequence), .init()) }
    }

    /// What has the name of a tree and is none keeps nobody from anything.
    @Test func whatIsNoneOfItsFilesIsPassedOver() throws {
        try set(3, in: index())
        for name in ["tree.9", "tree.18446744073709551615", "journal.007", "tree.+5"] {
            mkdir("\(temporary.path)/index/\(name)", 0o700)
        }
        for name in ["tree.+7", "journal.08"] { try temporary.write("index/\(name)", [1]) }
        try index().reencrypt()
        try index().rebuild([IndexEntry(stateID: "web", uuid: uuid, generation: 4)])
        #expect(try generation(in: index()) == 4)
        #expect(temporary.exists("index/tree.+7") && temporary.exists("index/journal.08"))
    }

    /// One with as many changes, all of them genuine, of what came to be after the same root.
    @Test func theJournalOfAnotherHistoryIsRefused() throws {
        try set(3, in: index())
        let before = try files(below: "\(temporary.path)/index")
        // More than the root has room for.
        for generation in UInt64(4)..<104 { try set(generation, in: index()) }
        let other = try temporary.read("index/journal.1")
        for (name, bytes) in before { try temporary.write("index/\(name)", bytes) }
        for generation in UInt64(204)..<304 { try set(generation, in: index()) }
        try temporary.write("index/journal.1", other)
        #expect(refusal { _ = try generation(in: index()) }.contains("its journal is damaged"))
    }

    /// The last changes are in the root: the journal's file may not have them after a power failure.
    @Test func theLastChangesNeedNoJournal() throws {
        try set(3, in: index())
        let before = try temporary.read("index/journal.1")
        for generation in UInt64(4)..<200 {
            try set(generation, in: index())
            let after = try temporary.read("index/journal.1")
            try temporary.write("index/journal.1", before)
            let isFlushed = (try? self.generation(in: index())) != generation
            try temporary.write("index/journal.1", after)
            guard isFlushed else { continue }
            #expect(generation > 60)
            return
        }
        Issue.record("the root grows and grows")
    }

    /// What can be parsed is no less damaged.
    @Test func aChangedRecordInTheTreeIsRefused() throws {
        try set(3, in: index())
        var tree = try temporary.read("index/tree.1")
        let start = try #require(tree.indices.first { tree[$0...].starts(with: uuid) })
        tree[start] ^= 1
        try temporary.write("index/tree.1", tree)
        #expect(refusal { _ = try generation(in: index()) }.contains("its tree is damaged"))
    }

    @Test func anotherHostsIsRefused() throws {
        try set(3, in: index(counter: counter))
        let other = MemoryCounter()
        #expect(refusal { _ = try generation(in: index(counter: other)) }.contains("another one"))
        _ = try other.define()
        other.value = 5000
        // Recognized by chance, but not where this index left it.
        #expect(refusal { _ = try generation(in: index(counter: other)) }.contains("put back"))
        other.value = 5
        #expect(refusal { _ = try generation(in: index(counter: other)) }.contains("at 5 only"))
    }

    @Test func theProtectionIsNotLostByConfiguration() throws {
        try set(3, in: index(counter: counter))
        #expect(refusal { _ = try generation(in: index()) }.contains("bound to the host TPM's"))
    }

    @Test func oneFromBeforeTheBindingIsRefusedAfterIt() throws {
        try set(3, in: index())
        let unbound = file
        try set(4, in: index(counter: counter))
        try put(unbound)
        let text = refusal { _ = try generation(in: index(counter: counter)) }
        #expect(text.contains("is not bound to it"), "\(text)")
    }

    @Test func aTryThatFailsBindsNothing() throws {
        try set(3, in: index())
        let why = Failure("cannot", because: "no")
        #expect(throws: why) {
            try index(counter: counter).transact { (_) throws(Failure) in throw why }
        }
        #expect(counter.value == nil)
        // A directory has the name that the file is written under.
        mkdir("\(temporary.path)/index/index.new", 0o700)
        #expect(throws: Failure.self) { try set(4, in: index(counter: counter)) }
        #expect(counter.value == nil)
        rmdir("\(temporary.path)/index/index.new")
        try set(4, in: index(counter: counter))
        #expect(try generation(in: index(counter: counter)) == 4)
        #expect(counter.value != nil)
    }

    @Test func aCounterWithoutAnIndexIsReplacedOnDemand() throws {
        _ = try counter.define()
        #expect(throws: Failure.self) { try set(3, in: index(counter: counter)) }
        try index(counter: counter).rebuild([])
        try set(3, in: index(counter: counter))
    }

    @Test func isRemadeOnDemand() throws {
        try set(3, in: index(counter: counter))
        let earlier = file
        try set(4, in: index(counter: counter))
        try put(earlier)
        try index(counter: counter).rebuild([IndexEntry(stateID: "db", uuid: uuid, generation: 9)])
        let entries = try index(counter: counter).snapshot()
        #expect(entries.keys.sorted() == ["db"])
        #expect(entries["db"]?.generation == 9)
    }
}
