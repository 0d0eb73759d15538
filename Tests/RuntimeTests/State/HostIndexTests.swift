import CLinux
import Crypto
import Glibc
import Platform
import Testing

@testable import RuntimeState

@Suite struct HostIndexTests {
    let temporary: TemporaryDirectory
    let counter = MemoryCounter()
    let master: MasterKey

    init() throws {
        temporary = try TemporaryDirectory()
        master = try MasterKey(secret(1))
    }

    func index(
        _ keys: KeyRing? = nil,
        counter: (any MonotonicCounter)? = nil
    ) throws(Failure) -> HostIndex {
        try HostIndex(
            in: openOwnDirectory("\(temporary.path)/index"),
            path: "\(temporary.path)/index",
            keys: keys ?? KeyRing(master),
            counter: counter
        )
    }

    func set(_ generation: UInt64, in index: HostIndex) throws(Failure) {
        try index.transact(isFirstUse: { () throws(Failure) in true }) { (records) throws(Failure) in
            try records.set(IndexEntry(stateID: "web", uuid: uuid, generation: generation, bundle: "/b"))
        }
    }

    func generation(in index: HostIndex) throws(Failure) -> UInt64? {
        try index.transact { (records) throws(Failure) in try records.entry("web")?.generation }
    }

    let uuid = [UInt8](repeating: 7, count: 16)
    var file: [UInt8] { (try? temporary.read("index/index")) ?? [] }

    func put(_ bytes: [UInt8]) throws { try temporary.write("index/index", bytes) }

    func refusal(_ body: () throws -> Void) -> String {
        let before = file
        let error = #expect(throws: Failure.self) { try body() }
        #expect(file == before, "a refusal changed the index")
        return error?.description ?? ""
    }

    @Test func remembers() throws {
        try set(3, in: index())
        let entry = try index().transact { (records) throws(Failure) in try records.entry("web") }
        #expect(entry == IndexEntry(stateID: "web", uuid: uuid, generation: 3, bundle: "/b"))
        var status = stat()
        try #require(stat("\(temporary.path)/index/index", &status) == 0)
        #expect(status.st_mode & 0o777 == 0o600)
    }

    @Test func isNotWrittenWhereNothingChanged() throws {
        try set(3, in: index())
        let before = file
        _ = try generation(in: index())
        try set(3, in: index())
        #expect(file == before)
    }

    @Test func aFailureInBetweenChangesNothing() throws {
        try set(3, in: index())
        let why = Failure("cannot", because: "no")
        let text = refusal {
            try index().transact { (records) throws(Failure) in
                try records.remove("web")
                throw why
            }
        }
        #expect(text == why.description)
    }

    @Test func aMissingOneIsNoNewOne() throws {
        let text = refusal { _ = try generation(in: index()) }
        #expect(text.contains("it is missing, and there are states that it should know"))
        #expect(text.contains("vtpmctl state accept --all"))
    }

    @Test func refusesEveryTruncationAndFlippedBit() throws {
        try set(3, in: index())
        let good = file
        for count in 0..<good.count {
            try put(Array(good[..<count]))
            let text = refusal { _ = try generation(in: index()) }
            #expect(text.contains("truncated") || text.contains("damaged"), "\(count): \(text)")
        }
        for index in good.indices {
            var damaged = good
            damaged[index] ^= 1 << UInt8(index % 8)
            try put(damaged)
            _ = refusal { _ = try generation(in: self.index()) }
        }
        try put(good + [0])
        #expect(refusal { _ = try generation(in: index()) }.contains("damaged"))
    }

    @Test func anotherKeysIsRefused() throws {
        try set(3, in: index())
        let other = try MasterKey(secret(2))
        let text = refusal { _ = try generation(in: index(KeyRing(other))) }
        #expect(text.contains("needs the master key \(Hexadecimal.encode(master.id))"))
        // During a rotation both are known.
        #expect(try generation(in: index(KeyRing(other, previous: master))) == 3)
    }

    @Test func isRewrapped() throws {
        try set(3, in: index())
        let other = try MasterKey(secret(2))
        try index(KeyRing(other, previous: master)).reencrypt()
        #expect(try generation(in: index(KeyRing(other))) == 3)
        _ = refusal { _ = try generation(in: index()) }
    }
}
