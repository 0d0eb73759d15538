import Crypto
import Glibc
import Platform
import RuntimeFormat
import Testing

@testable import RuntimeState

@Suite struct StateFileTests {
    let master: MasterKey
    let payload: StatePayload
    let header: StateFile
    let file: [UInt8]

    /// What no file may show: it stands for a TPM's seeds.
    static let plaintext = Array("the seeds of a TPM, which nobody else may ever see".utf8)

    init() throws {
        master = try MasterKey(secret(1))
        payload = StatePayload(permanent: try secretCopy(of: Self.plaintext), isComplete: true)
        header = try StateFile(keyID: master.id, uuid: [UInt8](repeating: 9, count: 16), generation: 42, stateID: "web")
        file = try header.encode(payload, key: master.instanceKey(uuid: header.uuid, stateID: "web"))
    }

    /// Loads a file as the store does, given the right key.
    func load(_ file: [UInt8], stateID: String = "web") throws -> StatePayload {
        let parsed = try StateFile(parsing: file, path: "/s/web/state")
        let key = try KeyRing(master).instanceKey(of: parsed, stateID, path: "/s/web/state")
        return try parsed.decode(file, key: key, path: "/s/web/state")
    }

    func reason(_ file: [UInt8], stateID: String = "web") -> String {
        let error = #expect(throws: Failure.self) { try load(file, stateID: stateID) }
        return error?.description ?? ""
    }

    @Test func comesBackAsItWas() throws {
        let loaded = try load(file)
        #expect(loaded.isComplete)
        #expect(loaded.permanent.withBytes { Array($0) } == Self.plaintext)
        #expect(try StateFile(parsing: file, path: "").generation == 42)
    }

    @Test func showsNothingOfItsPayload() {
        for start in 0..<Self.plaintext.count - 8 {
            let part = Self.plaintext[start..<start + 8]
            #expect(!file.indices.dropLast(7).contains { file[$0..<$0 + 8].elementsEqual(part) })
        }
    }

    @Test func neverUsesANonceTwice() throws {
        let again = try StateFile(keyID: header.keyID, uuid: header.uuid, generation: 42, stateID: "web")
        #expect(again.nonce != header.nonce)
    }

    @Test func refusesEveryTruncation() {
        for count in 0..<file.count {
            let text = reason(Array(file[..<count]))
            #expect(text.contains("truncated") || text.contains("damaged"), "\(count): \(text)")
        }
    }

    @Test func refusesEveryFlippedBit() {
        for index in file.indices {
            for bit in 0..<8 {
                var damaged = file
                damaged[index] ^= 1 << bit
                let error = #expect(throws: Failure.self, "bit \(bit) of byte \(index)") { try load(damaged) }
                #expect(error?.description.contains("/s/web/state") == true)
            }
        }
    }

    @Test func refusesWhatFollowsTheEnd() {
        #expect(reason(file + [0]).contains("damaged"))
    }

    /// A file whose payload is this list of items, authentic like any other.
    private func file(holding items: [UInt8]) throws -> [UInt8] {
        let header = try self.header.header(payloadSize: items.count + AES256GCM.tagSize)
        let plaintext = SecretMessage(prefix: items, secret: try SecretBytes(capacity: 1))
        let key = try master.instanceKey(uuid: self.header.uuid, stateID: "web")
        return try header + AES256GCM.seal(plaintext, key: key, nonce: self.header.nonce, associatedData: header)
    }

    private func item(_ kind: UInt16, _ contents: [UInt8]) -> [UInt8] {
        var writer = ByteWriter()
        writer.write(Item(kind, contents))
        return writer.bytes
    }

    /// A mistake of ours must not pass for a state that was never manufactured: a new TPM would take its place.
    @Test func refusesAnAuthenticPayloadThatIsNotOneState() throws {
        let (state, complete) = (item(1, Self.plaintext), item(2, []))
        #expect(try load(file(holding: state + complete)).permanent.count == Self.plaintext.count)
        #expect(try load(file(holding: complete + state)).isComplete)
        #expect(try !load(file(holding: item(1, []))).isComplete)
        for items in [
            [], complete, state + state, state + state + complete, state + complete + complete,
            item(1, []) + state + complete, state + item(2, [0]), state + complete + [0], state.dropLast(),
            item(1, []) + item(1, []),
        ] {
            let expected = "its payload is not one TPM's state (restore the file from a backup)"
            #expect(reason(try file(holding: items)).contains(expected), "\(items)")
        }
        for items in [item(3, []), state + item(0, [])] {
            #expect(
                reason(try file(holding: items)).contains("it holds items that this version does not know (upgrade)")
            )
        }
    }

    @Test func saysThatItIsNewer() {
        var newer = file
        newer[9] = 2
        #expect(reason(newer).contains("format 2, newer"))
    }

    @Test func saysThatItIsNoStateFile() {
        #expect(reason([UInt8](repeating: 0x41, count: 500)).contains("not a state file"))
        #expect(reason([]).contains("truncated"))
    }

    @Test func saysWhoseItIs() {
        #expect(reason(file, stateID: "db").contains("it is the state of \"web\", not of \"db\""))
    }

    @Test func saysWhichKeyItNeeds() throws {
        let other = try MasterKey(secret(2))
        let text = try #require(
            #expect(throws: Failure.self) {
                try KeyRing(other).instanceKey(of: header, "web", path: "/s/web/state")
            }
        ).description
        #expect(text.contains(Hexadecimal.encode(master.id)))
        #expect(text.contains(Hexadecimal.encode(other.id)))
    }

    @Test func refusesTheKeyOfAnotherInstance() throws {
        let other = try master.instanceKey(uuid: [UInt8](repeating: 8, count: 16), stateID: "web")
        #expect(throws: Failure.self) { try header.decode(file, key: other, path: "") }
        let renamed = try master.instanceKey(uuid: header.uuid, stateID: "db")
        #expect(throws: Failure.self) { try header.decode(file, key: renamed, path: "") }
    }

    @Test func refusesToCountPastTheLastGeneration() throws {
        let last = try StateFile(keyID: master.id, uuid: header.uuid, generation: UInt64.max, stateID: "web")
        #expect(throws: Failure.self) { try last.next(keyID: master.id) }
    }

    @Test func remembersAnUnfinishedManufacture() throws {
        let nothing = StatePayload(permanent: try SecretBytes(capacity: 1), isComplete: false)
        let key = try master.instanceKey(uuid: header.uuid, stateID: "web")
        #expect(try load(header.encode(nothing, key: key)).isComplete == false)
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
