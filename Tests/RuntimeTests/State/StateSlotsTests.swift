import Crypto
import Platform
import RuntimeFormat
import Testing

@testable import RuntimeState

/// Two slots that are written in turn: a write that was cut short is told from one that is damaged.
@Suite struct StateSlotsTests {
    static let sector = StateSlots.sectorSize
    static let damaged = "its payload is damaged, or it was copied while it was written"
    static let torn = "it was copied while it was written, or its disk has lost a write"

    let master: MasterKey
    let keys: InstanceKeys
    let uuid = [UInt8](repeating: 9, count: 16)

    init() throws {
        master = try MasterKey(secret(1))
        keys = try master.instanceKeys(uuid: uuid, stateID: "web")
    }

    /// A file as a series of writes leaves it.
    struct File {
        var header: StateFile
        var bytes: [UInt8]

        var slots: StateSlots {
            get throws {
                guard case .slots(let slots, _) = header.form else { throw Failure("cannot test", because: "no slots") }
                return slots
            }
        }

        func range(_ slot: Int) throws -> Range<Int> {
            let start = try slots.offset(of: slot)
            return try start..<start + slots.size
        }
    }

    func payload(_ text: String) throws -> StatePayload {
        let permanent = try SecretBytes(capacity: max(text.utf8.count, 1))
        try #require(permanent.append(copying: Array(text.utf8)))
        return StatePayload(permanent: permanent, isComplete: true)
    }

    func new(_ text: String, generation: UInt64 = 7) throws -> File {
        let header = StateFile(keyID: master.id, uuid: uuid, generation: generation, stateID: "web")
        let (written, content) = try header.encode(payload(text), keys: keys)
        return File(header: written, bytes: content)
    }

    func write(_ text: String, to file: File) throws -> File {
        let found = try file.header.overwriting(payload(text), keyID: master.id, keys: keys, unit: 4096)
        let write = try #require(found)
        var bytes = file.bytes
        bytes.replaceSubrange(write.offset..<write.offset + write.bytes.count, with: write.bytes)
        return File(header: write.header, bytes: bytes)
    }

    /// What is found in a file: its generation and its content, or why it is refused.
    func find(_ file: [UInt8], stateID: String = "web") -> String {
        do throws(Failure) {
            let header = try StateFile(parsing: file, path: "/s")
            let keys = try KeyRing(master).instanceKeys(of: header, stateID, path: "/s")
            let payload = try header.decode(file, keys: keys, path: "/s")
            return "\(header.generation) " + payload.permanent.withBytes { String(decoding: $0, as: UTF8.self) }
        } catch {
            return error.why
        }
    }

    @Test func writesInTurnAndInPlace() throws {
        var file = try new("a")
        #expect(find(file.bytes) == "7 a")
        for (number, text) in ["b", "c", "", "e"].enumerated() {
            let before = file
            file = try write(text, to: file)
            #expect(find(file.bytes) == "\(8 + number) \(text)")
            #expect(file.header == (try StateFile(parsing: file.bytes, path: "")))
            #expect(file.bytes.count == before.bytes.count)
            // What was there before stays as it is.
            let kept = try before.range(number % 2 == 0 ? 0 : 1)
            #expect(file.bytes[kept] == before.bytes[kept])
            #expect(file.bytes.prefix(4096) == before.bytes.prefix(4096))
        }
    }

    @Test func neverUsesANonceTwice() throws {
        let file = try new("a")
        var marks: Set<[UInt8]> = []
        for _ in 0..<20 {
            let next = try write("b", to: file)
            let start = try next.range(1).lowerBound
            marks.insert(Array(next.bytes[start + 8..<start + 20]))
        }
        for slot in 0..<2 {
            let start = try file.range(slot).lowerBound
            marks.insert(Array(file.bytes[start + 8..<start + 20]))
        }
        #expect(marks.count == 22)
        // Another file of the same state has another salt.
        #expect(try file.slots.salt != new("a").slots.salt)
    }

    /// Every mixture of the sectors of the write before and the one that was cut short.
    @Test func everyTornWriteIsTheStateBefore() throws {
        for count in 0..<3 {
            var file = try new("a")
            for number in 0..<count { file = try write("\(number)", to: file) }
            let before = find(file.bytes)
            let after = try write("torn", to: file)
            let sectors = file.bytes.indices.filter {
                $0 % Self.sector == 0 && file.bytes[$0..<$0 + Self.sector] != after.bytes[$0..<$0 + Self.sector]
            }
            #expect(sectors.count == 8)
            for mixture in 0..<1 << sectors.count {
                var torn = file.bytes
                for (bit, start) in sectors.enumerated() where mixture & 1 << bit != 0 {
                    torn.replaceSubrange(start..<start + Self.sector, with: after.bytes[start..<start + Self.sector])
                }
                let expected = mixture == 1 << sectors.count - 1 ? find(after.bytes) : before
                #expect(find(torn) == expected, "\(mixture)")
            }
            #expect(find(after.bytes) == "\(8 + count) torn")
        }
    }

    /// What three and more writes have left, each cut short, and each with the same generation.
    @Test func tornAgainAndAgainItIsTheStateBefore() throws {
        let file = try write("b", to: new("a"))
        var torn = file.bytes
        for attempt in 0..<5 {
            let after = try write("attempt \(attempt)", to: file)
            let range = try file.range(0)
            let start = range.lowerBound + attempt * Self.sector
            torn.replaceSubrange(start..<start + 2 * Self.sector, with: after.bytes[start..<start + 2 * Self.sector])
            #expect(find(torn) == "8 b")
        }
        // All sectors are of the next generation now, and of several writes.
        let last = try write("last", to: file)
        for start in stride(
            from: try file.range(0).lowerBound + 6 * Self.sector,
            to: try file.range(0).upperBound,
            by: Self.sector
        ) {
            torn.replaceSubrange(start..<start + Self.sector, with: last.bytes[start..<start + Self.sector])
        }
        #expect(find(torn) == "8 b")
        let header = try StateFile(parsing: torn, path: "")
        #expect(find(try write("c", to: File(header: header, bytes: torn)).bytes) == "9 c")
    }

    @Test func aDamagedByteAnywhereIsAnError() throws {
        let file = try write("c", to: write("b", to: new("a")))
        for index in file.bytes.indices where index < 200 || index % 13 == 0 {
            var damaged = file.bytes
            damaged[index] ^= UInt8(1 << (index % 8))
            let why = find(damaged)
            let isKnown = ["is damaged", "truncated", "not a state file", "newer"].contains(where: why.contains)
            #expect(isKnown, "byte \(index): \(why)")
        }
    }

    /// A sector that is zero, another's or in another place is damaged, also in a slot that is torn.
    @Test func aSectorThatIsNoneOfTheSlotsIsAnError() throws {
        let file = try write("b", to: new("a"))
        let after = try write("c", to: file)
        let other = try write("b", to: new("a"))
        let db = try master.instanceKeys(uuid: uuid, stateID: "db")
        let foreign = try StateFile(keyID: master.id, uuid: uuid, generation: 8, stateID: "db")
            .encode(payload("b"), keys: db).content
        let zeros = [UInt8](repeating: 0, count: Self.sector)
        for isTorn in [false, true] {
            var bytes = after.bytes
            let first = try file.range(0).lowerBound
            if isTorn {
                bytes.replaceSubrange(first..<first + Self.sector, with: file.bytes[first..<first + Self.sector])
            }
            #expect(find(bytes) == (isTorn ? "8 b" : "9 c"))
            for start in stride(from: first, to: bytes.count, by: Self.sector) {
                let exchanged = start + Self.sector < bytes.count ? start + Self.sector : first
                for (name, replacement) in [
                    ("zeros", zeros[...]), ("another file's", other.bytes[start..<start + Self.sector]),
                    ("another state's", foreign[start..<start + Self.sector]),
                    ("another sector's", after.bytes[exchanged..<exchanged + Self.sector]),
                ] {
                    var changed = bytes
                    changed.replaceSubrange(start..<start + Self.sector, with: replacement)
                    #expect(find(changed) == Self.damaged, "\(name) at \(start)")
                }
            }
        }
    }

    @Test func exchangedSlotsAreAnError() throws {
        let file = try write("b", to: new("a"))
        let (one, other) = (try file.range(0), try file.range(1))
        let bytes = Array(file.bytes.prefix(one.lowerBound)) + file.bytes[other] + file.bytes[one]
        #expect(find(bytes) == Self.damaged)
    }

    /// Slots of several generations, as a copy has them that was made while the state was written.
    @Test func slotsThatNoCrashLeavesAreAnError() throws {
        var files = [try new("0")]
        for number in 1..<6 { files.append(try write("\(number)", to: files[number - 1])) }
        let ranges = [try files[0].range(0), try files[0].range(1)]
        for one in files.indices {
            for other in files.indices {
                var bytes = files[one].bytes
                bytes.replaceSubrange(ranges[1], with: files[other].bytes[ranges[1]])
                let (first, second) = (find(files[one].bytes), find(bytes))
                guard abs(one - other) > 1 else { continue }
                // The slots as they are written at odd and at even generations.
                let generations = [one - one % 2, other == 0 ? 0 : other - 1 + other % 2]
                if abs(generations[0] - generations[1]) > 1 {
                    #expect(second == Self.torn, "\(one), \(other), \(first)")
                }
            }
        }
    }

    /// Half of a slot is older than the slot's last write but one: a write was lost that had been acknowledged.
    @Test func aLostWriteIsNotTakenForATornOne() throws {
        var files = [try new("0")]
        for number in 1..<5 { files.append(try write("\(number)", to: files[number - 1])) }
        // Slot 1 has 3 and slot 0 has 4; a part of slot 0 is as it was at 2.
        let half = try files[0].range(0).prefix(4 * Self.sector)
        var torn = files[4].bytes
        torn.replaceSubrange(half, with: files[2].bytes[half])
        #expect(find(torn) == "10 3")
        // Both are mixtures.
        let other = try files[0].range(1).prefix(Self.sector)
        torn.replaceSubrange(other, with: files[1].bytes[other])
        #expect(find(torn) == Self.torn)
        // The older slot is a mixture of what was there before.
        var lost = files[4].bytes
        lost.replaceSubrange(other, with: files[1].bytes[other])
        #expect(find(lost) == Self.torn)
    }

    @Test func aStateThatHasNoRoomGetsANewFile() throws {
        let file = try new("a")
        let room = (0...9000).last { (try? file.slots.hasRoom(for: $0)) == true }
        #expect(room == 8 * 476 - 4 - 16)
        // Two headers of items.
        let most = try #require(room) - 12
        let large = String(repeating: "x", count: most)
        #expect(find(try write(large, to: file).bytes) == "8 \(large)")
        func isInPlace(_ text: String, _ keyID: [UInt8], unit: Int = 4096) throws -> Bool {
            try file.header.overwriting(payload(text), keyID: keyID, keys: keys, unit: unit) != nil
        }
        #expect(try !isInPlace(large + "x", master.id))
        #expect(try !isInPlace("b", [UInt8](repeating: 3, count: 16)))
        #expect(try !isInPlace("b", master.id, unit: 8192))
        #expect(try isInPlace("b", master.id))
        let grown = try new(large + "x")
        #expect(grown.bytes.count == 4096 + 2 * 8192)
        #expect(find(grown.bytes) == "7 \(large)x")
    }

    @Test func theFirstVersionIsNeverWrittenInPlace() throws {
        let old = FirstStateFormat(keyID: master.id, uuid: uuid, generation: 3, stateID: "web")
        let bytes = try old.encode(items: stateItem(1, [0x61]), keys: keys)
        #expect(find(bytes) == "3 a")
        let header = try StateFile(parsing: bytes, path: "")
        #expect(try header.overwriting(payload("b"), keyID: master.id, keys: keys, unit: 4096) == nil)
    }

    /// Every header is checked before what it says is used.
    @Test func aHeaderThatSaysNonsenseIsAnError() throws {
        let file = try new("a")
        let place = 14 + 16 + 16 + 16
        for (unit, size) in [
            (0, 4096), (4095, 4096), (131072, 131072), (4096, 0), (4096, 4097), (4096, 1 << 20), (4096, 1 << 31),
            (8192, 4096), (4096, 8192),
        ] as [(UInt32, UInt32)] {
            var writer = ByteWriter()
            writer.write(unit)
            writer.write(size)
            var bytes = file.bytes
            bytes.replaceSubrange(place..<place + 8, with: writer.bytes)
            let end = place + 8 + 4 + 3
            bytes.replaceSubrange(end..<end + 16, with: try SHA256.digest(Array(bytes[..<end])).prefix(16))
            let why = find(bytes)
            #expect(
                ["its header is damaged", "it is truncated", Self.damaged].contains(why),
                "\(unit) \(size) \(why)"
            )
        }
    }
}
