import Foundation
import Glibc
import Platform
import Testing

@testable import RuntimeState
@testable import RuntimeSupervisor

/// A fixture: a disk that holds chosen flushes until they are released, and counts.
private final class HoldingDisk: Disk, @unchecked Sendable {
    private let disk = LocalDisk()
    private let condition = NSCondition()
    private var isHeld: (_ path: String, _ flush: Int) -> Bool = { _, _ in false }
    private var isReleased: (HoldingDisk) -> Bool = { _ in true }
    private var isOpen = true
    private var flushes: [String: Int] = [:]
    /// How long each flush takes, in microseconds, beside others.
    var flushTime: useconds_t = 0
    /// How many flushes are held now.
    private(set) var held = 0
    /// How many changes were added to the index's journal, how many roots were made, and how often the journal was flushed.
    private(set) var changes = 0
    private(set) var roots = 0
    private(set) var journalFlushes = 0

    /// Holds these flushes from now on until `isReleased`, or until ``release()``.
    func hold(
        _ isHeld: @escaping (_ path: String, _ flush: Int) -> Bool,
        until isReleased: @escaping (HoldingDisk) -> Bool = { _ in false }
    ) {
        condition.lock()
        (self.isHeld, self.isReleased, isOpen) = (isHeld, isReleased, false)
        flushes = [:]
        (changes, roots, journalFlushes) = (0, 0, 0)
        condition.unlock()
    }

    func release() {
        condition.lock()
        isOpen = true
        condition.broadcast()
        condition.unlock()
    }

    /// Waits until a flush is held; returns false if none is within a minute.
    func waitUntilHeld() -> Bool {
        condition.lock()
        defer { condition.unlock() }
        let end = Date(timeIntervalSinceNow: 60)
        while held == 0 { if !condition.wait(until: end) { return false } }
        return true
    }

    private func count(_ body: () -> Void) {
        condition.lock()
        body()
        if isReleased(self) { isOpen = true }
        condition.broadcast()
        condition.unlock()
    }

    private func flush(_ path: String) {
        usleep(flushTime)
        condition.lock()
        let number = flushes[path, default: 0]
        flushes[path] = number + 1
        if isHeld(path, number) {
            held += 1
            condition.broadcast()
            while !isOpen { condition.wait() }
            held -= 1
        }
        condition.unlock()
    }

    func create(_ name: String, in directory: borrowing Descriptor, as path: String) throws(Failure) -> Descriptor {
        if name == "index.new" { count { roots += 1 } }
        return try disk.create(name, in: directory, as: path)
    }

    func write(_ bytes: UnsafeRawBufferPointer, to file: borrowing Descriptor, as path: String) throws(Failure) {
        try disk.write(bytes, to: file, as: path)
    }

    func write(_ bytes: [UInt8], to file: borrowing Descriptor, at offset: Int, as path: String) throws(Failure) {
        try disk.write(bytes, to: file, at: offset, as: path)
        if path.hasSuffix("/index/index") { count { changes += 1 } }
    }

    func synchronizeData(_ file: borrowing Descriptor, as path: String) throws(Failure) {
        if path.hasSuffix("/index/index") { count { journalFlushes += 1 } }
        flush(path)
        try disk.synchronizeData(file, as: path)
    }

    func synchronize(_ file: borrowing Descriptor, as path: String) throws(Failure) {
        flush(path)
        try disk.synchronize(file, as: path)
    }

    func rename(
        _ name: String,
        in source: borrowing Descriptor,
        to newName: String,
        in target: borrowing Descriptor,
        as path: String
    ) throws(Failure) {
        try disk.rename(name, in: source, to: newName, in: target, as: path)
    }

    func link(_ name: String, in directory: borrowing Descriptor, as newName: String, path: String) throws(Failure) {
        try disk.link(name, in: directory, as: newName, path: path)
    }

    func makeDirectory(_ name: String, in directory: borrowing Descriptor, as path: String) throws(Failure) {
        try disk.makeDirectory(name, in: directory, as: path)
    }

    func removeFile(_ name: String, in directory: borrowing Descriptor, as path: String) throws(Failure) {
        try disk.removeFile(name, in: directory, as: path)
    }

    func removeDirectory(_ name: String, in directory: borrowing Descriptor, as path: String) throws(Failure) {
        try disk.removeDirectory(name, in: directory, as: path)
    }
}

/// Many states that are made, started and stopped at the same time on a slow disk.
@Suite(.serialized) struct ManyAtOnceTests {
    let scratch: ScratchDirectory
    private let disk = HoldingDisk()

    init() throws {
        scratch = try ScratchDirectory()
        for name in ["states", "index"] { _ = try openOwnDirectory("\(scratch.path)/\(name)") }
        // The first state of a host also makes the index.
        try Self.write("one", to: Self.open("first", in: repository()))
    }

    /// As each supervisor has its own.
    func repository() throws(Failure) -> StateRepository {
        let ring = KeyRing(try HostUnderTest.master(1))
        let path = "\(scratch.path)/index"
        let index = try HostIndex(in: openOwnDirectory(path), path: path, keys: ring, disk: disk)
        let states = "\(scratch.path)/states"
        return StateRepository(in: try openOwnDirectory(states), path: states, keys: ring, index: index, disk: disk)
    }

    static func open(
        _ stateID: String,
        in repository: StateRepository,
        timeout: Int = 60_000
    ) throws(Failure) -> StateStore {
        let nobody = ProcessID(process: pid_t.max, startTime: 0)
        let user = StateUser(containerID: stateID, initProcess: nobody, supervisor: getpid())
        return try StateStore.open(stateID, in: repository, for: user, until: Deadline(milliseconds: timeout)).store
    }

    static func write(_ text: String, to store: StateStore) throws(Failure) {
        let permanent = try SecretBytes(capacity: text.utf8.count)
        _ = permanent.append(copying: Array(text.utf8))
        try store.write(StatePayload(permanent: permanent, isComplete: true))
        try store.recordUse()
    }

    /// A thread that does something to one state.
    private final class User: @unchecked Sendable {
        let stateID: String
        let repository: StateRepository
        var store: StateStore?
        var failure: String?
        private var thread: Thread?

        init(_ stateID: String, _ repository: StateRepository) {
            (self.stateID, self.repository) = (stateID, repository)
        }

        func begin(_ body: @escaping @Sendable (User) throws(Failure) -> Void) {
            let new = Thread { [self] in
                do throws(Failure) { try body(self) } catch { failure = "\(error)" }
            }
            thread = new
            new.start()
        }

        func isDone() -> Bool { thread?.isFinished ?? true }
        func wait() { while !isDone() { usleep(1000) } }
    }

    /// Lets this process have the files of so many supervisors open; returns the limit that it had. setrlimit(2)
    private static func allowManyFiles() -> rlimit {
        var old = rlimit()
        getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &old)
        var new = old
        new.rlim_cur = min(old.rlim_max, 8192)
        restore(new)
        return old
    }

    private static func restore(_ limit: rlimit) {
        var limit = limit
        setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
    }

    /// Each flush that is one state's alone holds nobody else up: the first state is made only when all others are.
    @Test(arguments: ["states/web", "states/web/state"], [0, 1])
    func aSlowCreationHoldsNobodyUp(path: String, flush: Int) throws {
        disk.hold({ $0.hasSuffix(path) && $1 == flush })
        let slow = User("web", try repository())
        slow.begin { (user) throws(Failure) in
            let store = try Self.open(user.stateID, in: user.repository)
            try Self.write("one", to: store)
        }
        defer {
            disk.release()
            slow.wait()
            #expect(slow.failure == nil)
        }
        // The directory is synced once.
        guard path != "states/web" || flush == 0 else { return }
        try #require(disk.waitUntilHeld())
        for number in 0..<3 {
            let store = try Self.open("other-\(number)", in: repository())
            try Self.write("one", to: store)
            try Self.write("two", to: store)
        }
        _ = try Self.open("first", in: repository())
        #expect(disk.held == 1 && !slow.isDone())
    }

    /// The same state is not made twice: the second one waits for the first, and finds what it has made.
    @Test func oneStateIsMadeOnce() throws {
        disk.hold({ path, flush in path.hasSuffix("states/web/state") && flush == 0 })
        let users = try (0..<2).map { _ in User("web", try repository()) }
        for user in users {
            user.begin { (user) throws(Failure) in
                let store = try Self.open(user.stateID, in: user.repository)
                try Self.write("\(store.generation)", to: store)
            }
        }
        let isHeld = disk.waitUntilHeld()
        disk.release()
        for user in users { user.wait() }
        #expect(isHeld && users.allSatisfy { $0.failure == nil })
        #expect(try Self.open("web", in: repository()).generation == 2)
    }

    /// So many have the time that a supervisor has for its lock, where each flush takes 20 ms: they begin and they stop.
    @Test func aHundredAndFiftyWorkOnASlowDisk() throws {
        let limit = Self.allowManyFiles()
        defer { Self.restore(limit) }
        let users = try (0..<150).map { User("state-\($0)", try repository()) }
        disk.flushTime = 20_000
        func all(_ body: @escaping @Sendable (User) throws(Failure) -> Void) {
            for user in users { user.begin(body) }
            for user in users { user.wait() }
            #expect(users.compactMap(\.failure) == [])
        }
        all { (user) throws(Failure) in
            let store = try Self.open(user.stateID, in: user.repository, timeout: Supervisor.lockTimeout)
            try Self.write("started", to: store)
            user.store = store
        }
        all { (user) throws(Failure) in if let store = user.store { try Self.write("stopped", to: store) } }
        let entries = try repository().index.snapshot()
        #expect(entries.values.filter { $0.stateID != "first" && $0.generation == 2 }.count == users.count)
    }

    /// All share two roots of the index: that of the first, whose flush lasts until all have made their changes, and one for
    /// all the others.
    @Test func aHundredAndFiftyShareTheIndex() throws {
        let limit = Self.allowManyFiles()
        defer { Self.restore(limit) }
        let count = 150
        let users = try (0..<count).map { User("state-\($0)", try repository()) }
        func all(_ body: @escaping @Sendable (User) throws(Failure) -> Void) throws {
            // A full journal would be folded into the tree, with both locks held.
            try repository().index.reencrypt()
            disk.hold({ $0.hasSuffix("/index/index") && $1 == 0 }, until: { $0.changes >= count })
            for user in users { user.begin(body) }
            for user in users { user.wait() }
            disk.release()
            #expect(users.compactMap(\.failure) == [])
            #expect(disk.roots == 2)
            // What does not fit into a root is flushed to the journal, again for all.
            #expect(disk.journalFlushes <= 2)
        }
        try all { (user) throws(Failure) in user.store = try Self.open(user.stateID, in: user.repository) }
        try all { (user) throws(Failure) in if let store = user.store { try Self.write("started", to: store) } }
        try all { (user) throws(Failure) in if let store = user.store { try Self.write("stopped", to: store) } }
        let entries = try repository().index.snapshot()
        #expect(entries.count == count + 1)
        #expect(entries.values.allSatisfy { $0.stateID == "first" || $0.generation == 2 })
    }
}
