import Glibc
import Platform
import Testing

@testable import RuntimeAdministration
@testable import RuntimeState

/// What `vtpmctl state prune` takes, and what it leaves.
@Suite struct PruningTests {
    let host: HostWithStates
    let keys: KeyRing
    /// A day after all states were used.
    let now = UInt64(clamping: time(nil)) + 86_400

    init() throws {
        host = try HostWithStates()
        keys = KeyRing(try MasterKey(secret(1)))
        for stateID in ["web", "db", "cache"] { try host.store("one", stateID, keys) }
        // A program that another test starts holds copies of the locks until its execve(2).
        let deadline = Deadline(milliseconds: 30_000)
        while try repository().summaries().contains(where: { $0.inUseBy != nil }), !deadline.hasPassed {
            poll(nil, 0, 5)
        }
    }

    func repository() throws -> StateRepository { try host.repository(keys) }

    func pruning(
        _ list: @escaping ([String]) -> [String]? = { _ in nil },
        now: UInt64? = nil
    ) throws -> Pruning {
        Pruning(try repository(), ContainerInventory(root: host.path, list: list), now: now ?? self.now)
    }

    func found(_ criteria: Pruning.Criteria, _ pruning: Pruning) throws -> [String] {
        var names: [String] = []
        try pruning.each(criteria) { (candidate) throws(Failure) in names.append(candidate.stateID) }
        return names.sorted()
    }

    /// All that meets the criteria.
    func candidates(_ criteria: Pruning.Criteria) throws -> [Pruning.Candidate] {
        var candidates: [Pruning.Candidate] = []
        try pruning().each(criteria) { (candidate) throws(Failure) in candidates.append(candidate) }
        return candidates
    }

    /// What becomes of each that is to be removed.
    func remove(_ candidates: [Pruning.Candidate], to quarantine: Quarantine? = nil) throws -> [String: PruneOutcome] {
        var outcomes: [String: PruneOutcome] = [:]
        try pruning().remove(candidates, to: quarantine) { (candidate, outcome) throws(Failure) in
            outcomes[candidate.stateID] = outcome
        }
        return outcomes
    }

    func update(_ stateID: String, _ body: (inout IndexEntry) -> Void) throws {
        try repository().index.transact { (records) throws(Failure) in try records.update(stateID, body) }
    }

    @Test func goesByTheTimeOfTheLastUse() throws {
        try update("db") { $0.lastUse = now - 3600 }
        try update("cache") { $0.lastUse = now + 10 }
        #expect(try found(.init(unusedFor: 86_000), pruning()) == ["web"])
        #expect(try found(.init(unusedFor: 3600), pruning()) == ["db", "web"])
        // Of the future, whatever set its clock.
        #expect(try found(.init(unusedFor: 0), pruning()) == ["db", "web"])
    }

    @Test func aStateWhoseOwnTimeHasRunOutGoes() throws {
        try update("db") { $0.keptFor = 3600 }
        try update("cache") { $0.keptFor = 10 * 86_400 }
        #expect(try found(.init(unusedFor: nil), pruning()) == ["db"])
    }

    @Test func aStateInUseStays() throws {
        let store = try host.open("web", keys)
        #expect(try found(.init(unusedFor: 3600), pruning()) == ["cache", "db"])
        withExtendedLifetime(store) {}
    }

    /// Its supervisor was killed, and its container lives.
    @Test func aStateWhoseContainerLivesStays() throws {
        _ = try host.open("web", keys, living: true)
        #expect(try found(.init(unusedFor: 3600), pruning()) == ["cache", "db"])
    }

    @Test func aStateWhoseLockCannotBeLookedAtStays() throws {
        unlink("\(host.path)/states/web/lock")
        try #require(mkfifo("\(host.path)/states/web/lock", 0o600) == 0)
        #expect(try found(.init(unusedFor: 3600), pruning()) == ["cache", "db"])
    }

    /// Its other name has the same TPM.
    @Test func aStateThatIsBeingRenamedStays() throws {
        try update("web") { $0.renamedTo = "new" }
        try update("db") { $0.renamedFrom = "old" }
        #expect(try found(.init(unusedFor: 3600), pruning()) == ["cache"])
    }

    /// One that was started between the second look and the removal, or was started and stopped.
    @Test func aStateThatWasUsedAtTheLastMomentStays() throws {
        let web = try #require(try repository().index.entry("web"))
        let db = try #require(try repository().index.entry("db"))
        let cache = try #require(try repository().index.entry("cache"))
        let store = try host.open("web", keys, living: true).store
        try update("db") { $0.lastUse = now }
        #expect(try repository().prune([web, db, cache], to: nil) == [.stays, .stays, .removed])
        withExtendedLifetime(store) {}
        #expect(try host.load("db", keys) == "one")
        #expect(try entries(of: host.temporary.directory("states"), "").sorted() == ["db", "web"])
    }

    /// One that was started between the look and the removal.
    @Test func aStateThatWasUsedMeanwhileStays() throws {
        let candidates = try candidates(.init(unusedFor: 3600))
        try update("web") { $0.lastUse = now }
        let store = try host.open("db", keys)
        #expect(try remove(candidates) == ["cache": .removed, "web": .stays, "db": .stays])
        #expect(try repository().index.entry("web") != nil)
        #expect(try host.load("web", keys) == "one")
        withExtendedLifetime(store) {}
    }

    @Test(arguments: [true, false]) func whatGoesIsInTheQuarantineOrGone(isForEver: Bool) throws {
        let quarantine = Quarantine("\(host.path)/quarantine")
        let outcomes = try remove(candidates(.init(unusedFor: 3600)), to: isForEver ? nil : quarantine)
        #expect(outcomes.keys.sorted() == ["cache", "db", "web"])
        for outcome in outcomes.values { #expect(outcome.isGone && (outcome == .removed) == isForEver) }
        #expect(try repository().index.snapshot() == [:])
        #expect(try entries(of: host.temporary.directory("states"), "") == [])
        let aside = try quarantine.list().compactMap(\.stateID).sorted()
        #expect(aside == (isForEver ? [] : ["cache", "db", "web"]))
    }

    /// What was killed between two steps is found by the next one, which completes it; and what was lost stays refused.
    @Test func anInterruptedRemovalIsCompleted() throws {
        let criteria = Pruning.Criteria(unusedFor: 3600)
        try repository().retire("web")
        #expect(host.refusal("web", keys).contains("it existed and is missing"))
        #expect(try found(criteria, pruning()) == ["cache", "db", "web"])
        let candidate = Pruning.Candidate(stateID: "web", lastUse: now - 86_400, criteria: criteria)
        #expect(try remove([candidate]) == ["web": .removed])
        #expect(try repository().index.entry("web") == nil)
        #expect(try entries(of: host.temporary.directory("states"), "").sorted() == ["cache", "db"])
        // Lost, by whomever.
        try host.temporary.shell("rm -r states/db")
        #expect(try found(criteria, pruning()) == ["cache"])
        #expect(host.refusal("db", keys).contains("it existed and is missing"))
    }

    /// A quarantine that cannot take it loses nothing.
    @Test func aStateThatCannotBePutAsideStays() throws {
        try host.temporary.write("quarantine", [1])
        let quarantine = Quarantine("\(host.path)/quarantine")
        let outcomes = try remove(candidates(.init(unusedFor: 3600)), to: quarantine)
        #expect(outcomes.keys.sorted() == ["cache", "db", "web"])
        for outcome in outcomes.values {
            guard case .failed(let failure) = outcome else {
                Issue.record("\(outcome)")
                continue
            }
            #expect(failure.description.contains("quarantine"), "\(failure)")
        }
        #expect(try host.load("web", keys) == "one")
        #expect(throws: Failure.self) {
            try repository().reset("web", to: Quarantine("\(host.path)/quarantine"))
        }
        #expect(try host.load("web", keys) == "one")
    }

    /// Many go with few changes of the index: each costs flushes, and a write to the host TPM's counter.
    @Test func manyGoWithFewChanges() throws {
        for number in 0..<70 { try host.store("many", "m\(number)", keys) }
        let counter = MemoryCounter()
        let repository = try host.repository(keys, counter: counter)
        let pruning = Pruning(repository, ContainerInventory(root: host.path, list: { _ in nil }), now: now)
        var candidates: [Pruning.Candidate] = []
        try pruning.each(.init(unusedFor: 3600)) { (candidate) throws(Failure) in candidates.append(candidate) }
        #expect(candidates.count == 73)
        // It is bound with the first change.
        try repository.index.transact { (records) throws(Failure) in try records.update("web") { $0.keptFor = 1 } }
        let before = counter.value ?? 0
        var gone = 0
        try pruning.remove(candidates, to: nil) { (_, outcome) throws(Failure) in if outcome.isGone { gone += 1 } }
        #expect(gone == 73)
        let increments = (counter.value ?? 0) - before
        #expect((1...20).contains(increments), "\(increments) increments")
        #expect(try repository.index.snapshot() == [:])
    }

    /// A record of a state that never came to be has no file and no time of its own.
    @Test func whatNeverCameToBeGoesByItsDirectory() throws {
        try repository().index.transact { (records) throws(Failure) in
            try records.set(IndexEntry(stateID: "never", uuid: [UInt8](repeating: 1, count: 16), generation: 0))
        }
        #expect(try found(.init(unusedFor: 3600), pruning()) == ["cache", "db", "web"])
        _ = try host.open("unfinished", keys)
        #expect(try found(.init(unusedFor: 3600), pruning()) == ["cache", "db", "unfinished", "web"])
    }

    @Test func anOrphanIsOneThatNoEngineKnows() throws {
        let id = String(repeating: "a", count: 64)
        let task = "/run/containerd/io.containerd.runtime.v2.task"
        let cases: [(bundle: String, place: String?, isOrphan: Bool)] = [
            // Its bundle is there, or is not.
            ("/bundles/web", "/bundles/web", false), ("/bundles/web", nil, true),
            // docker, stopped: no bundle.
            ("\(task)/moby/\(id)", "/var/lib/docker/containers/\(id)", false),
            ("\(task)/moby/\(id)", "/var/lib/docker/containers/other", true),
            ("\(task)/moby/\(id)", nil, true),
            ("\(task)/k8s.io/\(id)", "/var/lib/containerd/io.containerd.grpc.v1.cri/containers/\(id)", false),
            ("\(task)/k8s.io/\(id)", nil, true),
            // containerd with another root, and an engine that nobody knows.
            ("/run/k3s/containerd/io.containerd.runtime.v2.task/k8s.io/\(id)", nil, true),
            ("/run/engine/\(id)", nil, false),
            // Nothing says whose it was.
            ("", nil, false),
        ]
        for (bundle, place, isOrphan) in cases {
            try update("web") { ($0.bundle, $0.containerID) = (bundle, id) }
            if let place { _ = try openOwnDirectory(host.path + place) }
            // Engines that are asked know another container.
            let orphans = try found(.init(unusedFor: 3600, orphansOnly: true), pruning { _ in ["other"] })
            #expect(orphans.contains("web") == isOrphan, "\(bundle), \(place ?? "-")")
            if let place {
                let top = place.utf8.dropFirst().prefix { $0 != UInt8(ascii: "/") }
                let remove = ["sh", "-c", "rm -rf '\(host.path)/\(String(top) ?? "none")'"]
                #expect(try ProgramLaunch("/bin/sh", remove).start().wait() == .exited(0))
            }
        }
    }

    /// Its pod may be made anew, with a container of another ID.
    @Test func aPodsStateIsNoOrphan() throws {
        for stateID in ["containerd/default/pod/db-0/tpm", "containerd/default/pod/db-0"] {
            try host.store("one", stateID, keys)
            let entry = try #require(try repository().index.entry(StateDirectoryName.encoded(stateID)))
            try repository().index.transact { (records) throws(Failure) in
                var gone = entry
                (gone.bundle, gone.containerID) = ("/bundles/gone", "gone")
                try records.set(gone)
            }
        }
        let orphans = try found(.init(unusedFor: 3600, orphansOnly: true), pruning { _ in [] })
        #expect(orphans.filter { $0.hasPrefix("containerd/") } == ["containerd/default/pod/db-0"])
        #expect(try found(.init(unusedFor: 3600), pruning()).contains("containerd/default/pod/db-0/tpm"))
        let summaries = try repository().summaries().filter(\.isOrphan).map(\.stateID)
        #expect(summaries == ["containerd/default/pod/db-0"])
    }

    @Test func aScopeGoesAsAWhole() throws {
        let below = ["containerd/a/db", "containerd/a/id/x", "containerd/a/pod/db-0/tpm"]
        for stateID in below + ["containerd/ab/db", "containerd", "containerd/a", "containerd%2Fa/db"] {
            try host.store("one", stateID, keys)
        }
        let criteria = Pruning.Criteria(below: try StateScope("containerd/a"))
        // One that is of the future, one that is lost, and one in use.
        try update("containerd%2Fa%2Fdb") { $0.lastUse = now + 1000 }
        try host.temporary.shell("rm -r states/containerd%2Fa%2Fid%2Fx")
        let store = try host.open("containerd/a/pod/db-0/tpm", keys)
        #expect(try found(criteria, pruning()) == ["containerd/a/db", "containerd/a/id/x"])
        let all = try candidates(criteria)
        #expect(try remove(all) == ["containerd/a/db": .removed, "containerd/a/id/x": .removed])
        let left = try repository().summaries().map(\.stateID).sorted()
        let others = ["cache", "containerd", "containerd%2Fa/db", "containerd/a", "containerd/a/pod/db-0/tpm"]
        #expect(left == others + ["containerd/ab/db", "db", "web"])
        withExtendedLifetime(store) {}
    }

    /// What a script makes of an empty variable is not the scope above.
    @Test(arguments: ["", "/", "containerd/", "/a", "containerd//a"])
    func aScopeHasNoEmptyPart(name: String) {
        let error = #expect(throws: Failure.self) { try StateScope(name) }
        #expect(error?.why == "a part of it is empty")
    }

    /// Containers of `ctr` are in containerd's database alone, so containerd is asked, once.
    @Test func anEngineThatHasToBeAskedIsAsked() throws {
        for stateID in ["web", "db", "cache"] {
            try update(stateID) {
                $0.bundle = "/run/containerd/io.containerd.runtime.v2.task/blue/\(stateID)"
                $0.containerID = stateID
            }
        }
        var asked: [[String]] = []
        let answering = try pruning { program in
            asked.append(program)
            return ["web", "other"]
        }
        #expect(try found(.init(unusedFor: 3600, orphansOnly: true), answering) == ["cache", "db"])
        #expect(asked == [["/usr/bin/ctr", "--namespace", "blue", "containers", "list", "--quiet"]])
        // One that does not answer may know them all.
        #expect(try found(.init(unusedFor: 3600, orphansOnly: true), pruning { _ in nil }) == [])
    }
}
