import Foundation
import Glibc
import Platform
import TestSupport
import Testing

@testable import RuntimeState

/// An index of many states: what is found in it, what it costs, and who shares what.
@Suite struct LargeIndexTests {
    let temporary: TemporaryDirectory
    let master: MasterKey

    init() throws {
        temporary = try TemporaryDirectory()
        master = try MasterKey(secret(1))
    }

    func index(disk: any Disk = LocalDisk()) throws(Failure) -> HostIndex {
        try HostIndex(
            in: openOwnDirectory("\(temporary.path)/index"),
            path: "\(temporary.path)/index",
            keys: KeyRing(master),
            disk: disk
        )
    }

    static func entry(_ number: Int, generation: UInt64 = 1) -> IndexEntry {
        let uuid = [UInt8](repeating: UInt8(truncatingIfNeeded: number), count: 16)
        return IndexEntry(stateID: "state-\(number)", uuid: uuid, generation: generation, bundle: "/b/\(number)")
    }

    /// Each record is found, also after many changes of some, removals and additions, in one pass and alone.
    @Test func everyRecordIsFound() throws {
        let size = 3000
        try index().rebuild((0..<size).map { Self.entry($0) })
        var expected: [String: IndexEntry] = [:]
        for number in 0..<size { expected["state-\(number)"] = Self.entry(number) }
        var generator = SeededGenerator(seed: 5)
        for round in 0..<600 {
            let number = Int.random(in: 0..<size + 500, using: &generator)
            let name = "state-\(number)"
            try index().transact { (records) throws(Failure) in
                if round % 3 == 0 {
                    try records.remove(name)
                    expected[name] = nil
                } else {
                    try records.set(Self.entry(number, generation: UInt64(round)))
                    expected[name] = Self.entry(number, generation: UInt64(round))
                }
            }
        }
        #expect(try index().snapshot() == expected)
        for number in 0..<size + 500 {
            #expect(try index().entry("state-\(number)") == expected["state-\(number)"])
        }
        // What was put into the tree is no longer in the journal.
        #expect(try openIndex().root.base > 0)
    }

    private func openIndex() throws -> OpenIndex {
        let index = try index()
        guard case .root(let root) = try index.load() else { throw Failure("cannot open", because: "there is no root") }
        return try index.open(root)
    }

    @Test func recordsOfAnySizeAreFound() throws {
        let long = String(repeating: "é", count: 2048)
        var entries = (0..<30).map {
            IndexEntry(stateID: "\($0)" + long.dropLast(2), uuid: Self.entry($0).uuid, generation: 1)
        }
        for number in entries.indices { entries[number].bundle = "/" + String(repeating: "b", count: 4094) }
        try index().transact(isFirstUse: { () throws(Failure) in true }) { (_) throws(Failure) in }
        for entry in entries {
            try index().transact { (records) throws(Failure) in try records.set(entry) }
        }
        try index().reencrypt()
        for entry in entries { #expect(try index().entry(StateDirectoryName.encoded(entry.stateID)) == entry) }
        var tooLong = entries[0]
        tooLong.bundle = String(repeating: "b", count: 20_000)
        let error = #expect(throws: Failure.self) {
            try index().transact { (records) throws(Failure) in try records.set(tooLong) }
        }
        #expect(error?.why.contains("more than 15360") == true)
        #expect(try index().entry(StateDirectoryName.encoded(tooLong.stateID)) == entries[0])
    }

    /// Bytes and flushes of one change, and of what comes now and then, do not grow with what is not changed.
    @Test func aChangeCostsTheSameAmongMany() throws {
        var cost: [Int: (flushes: Int, written: Int, most: Int)] = [:]
        for size in [10, 20_000] {
            _ = try openOwnDirectory("\(temporary.path)/index")
            let disk = try RecordingDisk(in: temporary.path)
            let index = try index(disk: disk)
            try index.rebuild((0..<size).map { Self.entry($0) })
            func change(_ number: Int) throws -> (flushes: Int, written: Int) {
                let start = disk.recording.events.count
                try index.transact { (records) throws(Failure) in
                    try records.update("state-\(number % size)") { $0.generation += 1 }
                }
                let events = disk.recording.events[start...]
                let flushes = events.count { if case .synchronize = $0 { true } else { false } }
                return (flushes, events.reduce(0) { $0 + ($1.written?.count ?? 0) })
            }
            let first = try change(0)
            var most = 0
            for number in 0..<400 { most = max(most, try change(number * 7).written) }
            cost[size] = (first.flushes, first.written, most)
        }
        let (few, many) = (try #require(cost[10]), try #require(cost[20_000]))
        // The root and its directory.
        #expect(few.flushes == 2 && many.flushes == 2)
        #expect(many.written < few.written + 64)
        #expect(many.written < 1024)
        // The journal's changes go into the tree: a leaf and the branches above it for each, however many others there are.
        #expect(many.most < 400 * (IndexNode.sizeLimit + 3 * 4096))
    }

    /// Many users at once, each with an open index of its own, as processes have: no change is lost, and none is done twice.
    @Test func manyAtOnceLoseNothing() throws {
        try index().rebuild((0..<100).map { Self.entry($0) })
        let path = temporary.path
        let ring = KeyRing(master)
        final class Worker: @unchecked Sendable {
            let index: HostIndex
            let first: Int
            var failure: String?
            init(_ index: HostIndex, _ first: Int) { (self.index, self.first) = (index, first) }
            func run() {
                do throws(Failure) {
                    for round in 0..<60 {
                        try index.transact { (records) throws(Failure) in
                            // One of its own and one of all.
                            try records.update("state-\(first + round % 10)") { $0.generation += 1 }
                            try records.update("state-99") { $0.generation += 1 }
                        }
                    }
                } catch {
                    failure = error.description
                }
            }
        }
        let workers = try (0..<8).map { number in
            let directory = try openOwnDirectory("\(path)/index")
            return Worker(try HostIndex(in: directory, path: path, keys: ring), number * 10)
        }
        let threads = workers.map { worker in
            let thread = Thread { worker.run() }
            thread.start()
            return thread
        }
        for thread in threads { while !thread.isFinished { usleep(1000) } }
        #expect(workers.compactMap(\.failure) == [])
        let entries = try index().snapshot()
        #expect(entries.count == 100)
        #expect(entries.values.reduce(0) { $0 + $1.generation } == 100 + 2 * 8 * 60)
        #expect(entries["state-99"]?.generation == 1 + 8 * 60)
    }

    /// A list goes on while what it reads is changed twice over, and finds everything that is there all the time.
    @Test func aListIsWholeWhileOthersChangeTheIndex() throws {
        let size = 2000
        try index().rebuild((0..<size).map { Self.entry($0) })
        var found: Set<String> = []
        var told = 0
        try index().each { (entry) throws(Failure) in
            #expect(found.insert(entry.stateID).inserted)
            told += 1
            guard told % 400 == 0 else { return }
            // Twice into the tree: what the list began with is overwritten.
            for round in 0..<2 {
                for number in 0..<60 {
                    try index().transact { (records) throws(Failure) in
                        try records.update("state-\(number * 31 % size)") { $0.generation += UInt64(round + 1) }
                    }
                }
                try index().reencrypt()
            }
        }
        #expect(found.count == size)
    }

    /// The file of the first format is taken in with the first change, and not before; what it knew is known.
    @Test func theFirstFormatGoesOverWithTheFirstChange() throws {
        let fixture = try FormatFixture(version: 1)
        let before = try fixture.temporary.read("index/index")
        let index = try HostIndex(
            in: openOwnDirectory("\(fixture.path)/index"),
            path: "\(fixture.path)/index",
            keys: KeyRing(MasterKey(secret(1)))
        )
        let name = try StateDirectoryName.encoded(FormatTests.stateID)
        let known = try #require(try index.transact { (records) throws(Failure) in try records.entry(name) })
        #expect(known.stateID == FormatTests.stateID && known.bundle == "/var/lib/bundles/web")
        try index.transact { (records) throws(Failure) in try records.update(name) { $0.generation += 1 } }
        #expect(try fixture.temporary.read("index/index") != before)
        #expect(try index.entry(name)?.generation == known.generation + 1)
        #expect(try entries(of: fixture.temporary.directory("index"), "").contains("tree.1"))
    }
}
