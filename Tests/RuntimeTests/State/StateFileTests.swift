import Crypto
import Glibc
import Platform
import RuntimeFormat
import Testing

@testable import RuntimeState

@Suite struct StateFileTests {
    /// The two versions of the format.
    static let versions: [UInt16] = [1, 2]

    let master: MasterKey
    let header: StateFile
    let keys: InstanceKeys

    /// What no file may show: it stands for a TPM's seeds.
    static let plaintext = Array("the seeds of a TPM, which nobody else may ever see".utf8)

    init() throws {
        master = try MasterKey(secret(1))
        header = StateFile(keyID: master.id, uuid: [UInt8](repeating: 9, count: 16), generation: 42, stateID: "web")
        keys = try master.instanceKeys(uuid: header.uuid, stateID: "web")
    }

    /// A file of a version, with a state or with any other list of items.
    func file(_ version: UInt16, _ items: [UInt8]? = nil) throws -> [UInt8] {
        let items = items ?? stateItem(1, Self.plaintext) + stateItem(2, [])
        guard version == 2 else {
            return try FirstStateFormat(keyID: master.id, uuid: header.uuid, generation: 42, stateID: "web")
                .encode(items: items, keys: keys)
        }
        let plaintext = SecretMessage(prefix: items, secret: try SecretBytes(capacity: 1))
        return try header.encode(items: plaintext, keys: keys).content
    }

    /// Loads a file as the store does, given the right key.
    func load(_ file: [UInt8], stateID: String = "web") throws -> StatePayload {
        let parsed = try StateFile(parsing: file, path: "/s/web/state")
        let keys = try KeyRing(master).instanceKeys(of: parsed, stateID, path: "/s/web/state")
        return try parsed.decode(file, keys: keys, path: "/s/web/state")
    }

    func reason(_ file: [UInt8], stateID: String = "web") -> String {
        let error = #expect(throws: Failure.self) { try load(file, stateID: stateID) }
        return error?.description ?? ""
    }

    @Test(arguments: versions) func comesBackAsItWas(_ version: UInt16) throws {
        let file = try file(version)
        #expect(file[8..<10].elementsEqual([0, UInt8(version)]))
        let loaded = try load(file)
        #expect(loaded.isComplete)
        #expect(loaded.permanent.withBytes { Array($0) } == Self.plaintext)
        #expect(try StateFile(parsing: file, path: "").generation == 42)
    }

    @Test func showsNothingOfItsPayload() throws {
        let file = try file(2)
        for start in 0..<Self.plaintext.count - 8 {
            let part = Self.plaintext[start..<start + 8]
            #expect(!file.indices.dropLast(7).contains { file[$0..<$0 + 8].elementsEqual(part) })
        }
    }

    @Test func refusesEveryTruncation() throws {
        for version in Self.versions {
            let file = try file(version)
            for count in Array(0..<300) + Array(stride(from: 300, to: file.count, by: 61)) where count < file.count {
                let text = reason(Array(file[..<count]))
                #expect(text.contains("truncated") || text.contains("damaged"), "\(count): \(text)")
            }
        }
    }

    /// Each byte means something, in both versions.
    @Test func refusesEveryFlippedBit() throws {
        for version in Self.versions {
            let file = try file(version)
            for index in file.indices where version == 1 || index < 200 || index % 41 == 0 {
                for bit in version == 1 ? Array(0..<8) : [index % 8] {
                    var damaged = file
                    damaged[index] ^= 1 << bit
                    let error = #expect(throws: Failure.self, "bit \(bit) of byte \(index)") { try load(damaged) }
                    #expect(error?.description.contains("/s/web/state") == true)
                }
            }
        }
    }

    @Test(arguments: versions) func refusesWhatFollowsTheEnd(_ version: UInt16) throws {
        #expect(reason(try file(version) + [0]).contains("damaged"))
    }

    /// A mistake of ours must not pass for a state that was never manufactured: a new TPM would take its place.
    @Test(arguments: versions) func refusesAnAuthenticPayloadThatIsNotOneState(_ version: UInt16) throws {
        let (state, complete) = (stateItem(1, Self.plaintext), stateItem(2, []))
        #expect(try load(file(version, state + complete)).permanent.count == Self.plaintext.count)
        #expect(try load(file(version, complete + state)).isComplete)
        #expect(try !load(file(version, stateItem(1, []))).isComplete)
        for items in [
            [], complete, state + state, state + state + complete, state + complete + complete,
            stateItem(1, []) + state + complete, state + stateItem(2, [0]), state + complete + [0], state.dropLast(),
            stateItem(1, []) + stateItem(1, []),
        ] {
            let expected = "its payload is not one TPM's state (restore the file from a backup)"
            #expect(reason(try file(version, items)).contains(expected), "\(items)")
        }
        for items in [stateItem(3, []), state + stateItem(0, []), state + stateItem(0x7fff, [1])] {
            let expected = "it holds items that this version does not know (upgrade)"
            #expect(reason(try file(version, items)).contains(expected))
        }
    }

    /// In the first version no item is optional.
    @Test func keepsOptionalItemsThatItDoesNotKnow() throws {
        let (state, complete) = (stateItem(1, Self.plaintext), stateItem(2, []))
        let (one, other) = (stateItem(0x8000, [1, 2, 3]), stateItem(0xffff, []))
        let loaded = try load(file(2, one + state + other + complete))
        #expect(loaded.permanent.count == Self.plaintext.count && loaded.isComplete)
        let next = StatePayload(permanent: try secretCopy(of: [7]), isComplete: true).keeping([], loaded.unknown)
        let again = try load(header.encode(next, keys: keys).content)
        #expect(again.permanent.withBytes { Array($0) } == [7] && again.isComplete)
        #expect(again.unknown?.withBytes { Array($0) } == one + other)
        #expect(reason(try file(2, state + one + one)).contains("not one TPM's state"))
        #expect(reason(try file(1, state + one)).contains("does not know (upgrade)"))
    }

    @Test func saysThatItIsNewer() throws {
        var newer = try file(2)
        newer[9] = 3
        #expect(reason(newer).contains("format 3, newer"))
    }

    @Test func saysThatItIsNoStateFile() {
        #expect(reason([UInt8](repeating: 0x41, count: 500)).contains("not a state file"))
        #expect(reason([]).contains("truncated"))
    }

    @Test(arguments: versions) func saysWhoseItIs(_ version: UInt16) throws {
        #expect(reason(try file(version), stateID: "db").contains("it is the state of \"web\", not of \"db\""))
    }

    @Test func saysWhichKeyItNeeds() throws {
        let other = try MasterKey(secret(2))
        let text = try #require(
            #expect(throws: Failure.self) {
                try KeyRing(other).instanceKeys(of: header, "web", path: "/s/web/state")
            }
        ).description
        #expect(text.contains(Hexadecimal.encode(master.id)))
        #expect(text.contains(Hexadecimal.encode(other.id)))
    }

    @Test(arguments: versions) func refusesTheKeysOfAnotherInstance(_ version: UInt16) throws {
        let file = try file(version)
        let parsed = try StateFile(parsing: file, path: "")
        let other = try master.instanceKeys(uuid: [UInt8](repeating: 8, count: 16), stateID: "web")
        let renamed = try master.instanceKeys(uuid: header.uuid, stateID: "db")
        // Each of the two keys is needed.
        let half = InstanceKeys(encryption: other.encryption, tags: keys.tags)
        for wrong in [other, renamed, half] {
            let error = #expect(throws: Failure.self) { try parsed.decode(file, keys: wrong, path: "") }
            #expect(error?.description.contains("its payload is damaged") == true)
        }
    }

    @Test func refusesToCountPastTheLastGeneration() throws {
        let last = StateFile(keyID: master.id, uuid: header.uuid, generation: UInt64.max, stateID: "web")
        #expect(throws: Failure.self) { try last.next(keyID: master.id) }
    }

    @Test func remembersAnUnfinishedManufacture() throws {
        let nothing = StatePayload(permanent: try SecretBytes(capacity: 1), isComplete: false)
        #expect(try load(header.encode(nothing, keys: keys).content).isComplete == false)
    }

    /// An ID may be longer than the place of a header that most have.
    @Test func takesTheLongestID() throws {
        let long = String(repeating: "x", count: 4096)
        let header = StateFile(keyID: master.id, uuid: header.uuid, generation: 1, stateID: long)
        let keys = try master.instanceKeys(uuid: header.uuid, stateID: long)
        let nothing = StatePayload(permanent: try SecretBytes(capacity: 1), isComplete: false)
        let (written, content) = try header.encode(nothing, keys: keys)
        #expect(try StateFile(parsing: content, path: "") == written)
        #expect(try load(content, stateID: long).isComplete == false)
    }
}

/// Key material that says what it is.
func secret(_ byte: UInt8) throws -> SecretBytes {
    try secretCopy(of: [UInt8](repeating: byte, count: MasterKey.size))
}

func secretCopy(of bytes: [UInt8]) throws -> SecretBytes {
    let copy = try SecretBytes(capacity: bytes.count)
    try #require(copy.append(copying: bytes))
    return copy
}
