import Glibc
import Platform
import Testing

@testable import RuntimeState

/// How often a disk has to flush: docs/architecture.md promises it.
///
/// The index is not counted, since its root is flushed once for all that change the index at the same time. Now and then
/// its journal is flushed as well, once for dozens of changes.
@Suite struct FlushTests {
    let scratch: ScratchDirectory
    let recorder: RecordingDisk
    let host: HostUnderTest

    init() throws {
        scratch = try ScratchDirectory()
        for name in ["states", "index"] { _ = try openOwnDirectory("\(scratch.path)/\(name)") }
        recorder = try RecordingDisk(in: scratch.path)
        host = HostUnderTest(root: scratch.path, recording: recorder)
        // The first state of a host also makes the index.
        try host.runContainer("other", writing: ["one"])
    }

    /// The flushes of `body`, without those of the root of the index; `root` is how many those are.
    func flushes(root: ClosedRange<Int> = 0...0, _ body: () throws -> Void) throws -> Int {
        let start = recorder.recording.events.count
        try body()
        var isRoot: Set<Recording.Node> = []
        var (count, ofRoot) = (0, 0)
        for (number, event) in recorder.recording.events.enumerated() {
            if case .create(let node, let place) = event, place.name == "index.new" {
                isRoot.formUnion([node, place.directory])
            }
            guard number >= start, case .synchronize(let node) = event else { continue }
            if isRoot.contains(node) { ofRoot += 1 } else { count += 1 }
        }
        #expect(root.contains(ofRoot))
        return count
    }

    @Test func aChangeTakesOneFlush() throws {
        try host.runContainer("web", writing: ["one"])
        let store = try host.open("web")
        try host.write("of this run", to: store, of: "web")
        for content in ["two", "three", "", Scenario.large("x").prefix(3000).description, "four"] {
            #expect(try flushes { try host.write(content, to: store, of: "web") } == 1)
        }
    }

    @Test func growingIsANewFile() throws {
        try host.runContainer("web", writing: ["one"])
        let store = try host.open("web")
        #expect(try flushes { try host.write(Scenario.large("x"), to: store, of: "web") } == 2)
        #expect(try flushes { try host.write(Scenario.large("y"), to: store, of: "web") } == 1)
    }

    /// A TPM writes its state when it starts up, into a new file, and when it is shut down.
    @Test func aStartTakesTwoAndAStopOne() throws {
        try host.runContainer("web", writing: ["one"])
        let start = try flushes(root: 2...3) {
            let store = try host.open("web")
            try host.write("started", to: store, of: "web")
            try host.recordUse(of: store, of: "web")
        }
        #expect(start == 2)
        let store = try host.open("web")
        try host.write("started", to: store, of: "web")
        let stop = try flushes(root: 2...3) {
            try host.write("stopped", to: store, of: "web")
            try host.recordUse(of: store, of: "web")
        }
        #expect(stop == 1)
    }

    /// One each for the name of its directory, for its file and for the name of that.
    @Test func aNewStateTakesThree() throws {
        let count = try flushes(root: 4...6) {
            let store = try host.open("web")
            try host.write("manufactured", to: store, of: "web")
            try host.recordUse(of: store, of: "web")
        }
        #expect(count == 3)
    }

    /// What a killed supervisor has left may not be on stable storage.
    @Test func aStartAfterAKillSyncsWhatItFinds() throws {
        try host.runContainer("web", writing: ["one"])
        do {
            let store = try host.open("web")
            try host.write("two", to: store, of: "web")
        }
        #expect(try flushes(root: 0...1) { _ = try host.open("web") } == 3)
    }

    @Test func theFirstWriteOfTheFirstVersionConvertsIt() throws {
        try host.runContainer("web", writing: ["one"])
        let path = "\(scratch.path)/states/web/state"
        let header = try StateFile(parsing: Descriptor.open(path, .read).readAll(limit: 1 << 20, path), path: path)
        let old = FirstStateFormat(
            keyID: header.keyID,
            uuid: header.uuid,
            generation: header.generation,
            stateID: "web"
        )
        let keys = try HostUnderTest.master(1).instanceKeys(uuid: header.uuid, stateID: "web")
        let items = stateItem(1, Array("one".utf8)) + stateItem(2, [])
        try Descriptor.open(path, OpenOptions(O_WRONLY | O_TRUNC)).writeAll(old.encode(items: items, keys: keys), path)
        try recorder.restart(in: scratch.path)
        let (store, outcome) = try host.find("web")
        #expect(outcome == .content("one"))
        #expect(try flushes { try host.write("two", to: store, of: "web") } == 2)
        #expect(try flushes { try host.write("three", to: store, of: "web") } == 1)
        let bytes = try Descriptor.open(path, .read).readAll(limit: 1 << 20, path)
        #expect(bytes[8..<10].elementsEqual([0, 2]))
        #expect(try StateFile(parsing: bytes, path: path).generation == header.generation + 2)
    }

    /// An earlier run's sectors, which a copy of the disk has, do not make the last write look torn.
    @Test func noSectorOfAnEarlierRunFits() throws {
        try host.runContainer("web", writing: ["one", "two"])
        let path = "\(scratch.path)/states/web/state"
        let earlier = try Descriptor.open(path, .read).readAll(limit: 1 << 20, path)
        do {
            let store = try host.open("web")
            for content in ["three", "four", "five"] { try host.write(content, to: store, of: "web") }
        }
        let whole = try Descriptor.open(path, .read).readAll(limit: 1 << 20, path)
        try #require(whole.count == earlier.count)
        for sector in (4096 / 512)..<(whole.count / 512) {
            let range = sector * 512..<(sector + 1) * 512
            var mixed = whole
            mixed.replaceSubrange(range, with: earlier[range])
            try Descriptor.open(path, OpenOptions(O_WRONLY | O_TRUNC)).writeAll(mixed, path)
            let failure = #expect(throws: Failure.self) { _ = try host.open("web") }
            #expect(failure?.description.contains("its payload is damaged") == true, "\(sector)")
        }
    }

    /// What somebody writes into the file, or links to it, is left alone: the next write makes a new one.
    @Test func aFileThatSomebodyElseHasWrittenOrLinkedIsReplaced() throws {
        try host.runContainer("web", writing: ["one"])
        let path = "\(scratch.path)/states/web/state"
        let earlier = try Descriptor.open(path, .read).readAll(limit: 1 << 20, path)
        var store: StateStore? = try host.open("web")
        for content in ["two", "three"] { try host.write(content, to: #require(store), of: "web") }
        // The kernel's clock for files stands still for a tick.
        poll(nil, 0, 20)
        try Descriptor.open(path, OpenOptions(O_WRONLY | O_TRUNC)).writeAll(earlier, path)
        #expect(try flushes { try host.write("four", to: #require(store), of: "web") } == 2)
        #expect(link(path, "\(scratch.path)/copy") == 0)
        #expect(try flushes { try host.write("five", to: #require(store), of: "web") } == 2)
        #expect(try flushes { try host.write("six", to: #require(store), of: "web") } == 1)
        store = nil
        #expect(try host.find("web").outcome == .content("six"))
    }
}
