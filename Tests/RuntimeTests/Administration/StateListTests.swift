import Glibc
import Platform
import RuntimeAdministration
import Testing

@testable import RuntimeState

// What `vtpmctl state list` and `verify` show.
extension StateChangesTests {
    // MARK: - list and verify

    /// `list` and `verify` say what a start says, which has not their rights.
    @Test(.enabled(if: geteuid() == 0, "needs root"), arguments: ["", "/state", "/lock"])
    func aWrongOwnerIsListedAndVerified(file: String) throws {
        let path = "\(host.path)/states/web"
        try #require(chown(path + file, 1000, gid_t.max) == 0)
        let problem = try #require(repository().summaries().first?.problem)
        #expect(problem.contains("belongs to user 1000 (chown -R root: \(path) && chmod 0700 \(path)"), "\(problem)")
        let verified = refusal { try repository().verify("web") }
        #expect(verified == host.refusal("web", keys))
        #expect(try repository().verifyAll().map { $0.problem?.reason } == [problem])
        #expect(problem == verified.drop { $0 != ":" }.dropFirst(2))
    }

    @Test func whatThereIsIsListed() throws {
        try host.store("two", "a/b", keys)
        let store = try host.open("a/b", keys, living: true).store
        var list = try repository().summaries()
        // A program that another test starts holds a copy of a lock until its execve(2).
        let deadline = Deadline(milliseconds: 30_000)
        while list.last?.inUseBy != nil, !deadline.hasPassed { list = try repository().summaries() }
        withExtendedLifetime(store) {}
        #expect(list.map(\.stateID) == ["a/b", "web"])
        #expect(list.map(\.inUseBy) == ["a/b", nil])
        #expect(list.map(\.generation) == [1, 1])
        #expect(list.map(\.lastGeneration) == [1, 1])
        #expect(list.map(\.hasCurrentKey) == [true, true])
        #expect(list.map(\.problem) == [nil, nil])
        #expect(list.map(\.isOrphan) == [false, false])
        #expect(list.allSatisfy { $0.lastUse ?? 0 > 1_700_000_000 })
    }

    @Test func problemsAreListed() throws {
        try host.store("two", "db", keys)
        try host.store("three", "gone", keys)
        try host.temporary.write("states/db/state", [1, 2, 3])
        rename("\(host.path)/states/gone", "\(host.path)/elsewhere")
        let list = try repository().summaries()
        #expect(list.map(\.stateID) == ["db", "web", "gone"])
        #expect(list.map(\.problem) == ["it is truncated", nil, "it existed and is missing"])
    }

    @Test func anothersFileIsThisStatesProblem() throws {
        try host.store("two", "db", keys)
        try host.temporary.write("states/web/state", try host.temporary.read("states/db/state"))
        let list = try repository().summaries()
        #expect(list.map(\.stateID) == ["db", "web"])
        #expect(list.map { $0.problem ?? "" } == ["", "it is the state of \"db\", not of \"web\""])
        let results = try repository().verifyAll()
        #expect(results.map(\.stateID) == ["db", "web"])
        #expect(results.map { $0.problem == nil } == [true, false])
    }

    @Test func whatIsNoStateIsNotLookedAt() throws {
        mkdir("\(host.path)/states/lost+found", 0o700)
        try host.temporary.write("states/.hidden", [1])
        #expect(try repository().summaries().map(\.stateID) == ["web"])
    }

    @Test func anOrphanIsAStateWhoseBundleIsGone() throws {
        try repository().index.transact { (records) throws(Failure) in
            try records.update("web") { $0.bundle = "/nowhere/at/all" }
        }
        #expect(try repository().summaries().map(\.isOrphan) == [true])
    }

    @Test func verifyingDecryptsAndChangesNothing() throws {
        try repository().verify("web")
        var file = try host.temporary.read("states/web/state")
        file[file.count - 1] ^= 1
        try host.temporary.write("states/web/state", file)
        #expect(refusal { try repository().verify("web") }.contains("its payload is damaged"))
        #expect(try host.temporary.read("states/web/state") == file)
    }
}
