import Crypto
import Platform
import RuntimeFormat

/// The part of a state file that is written in place: two slots, of which one has the state and the other the one before.
///
///     header     one unit, filled up with zeros
///     slot 0     as many units as a state needs
///     slot 1     the same
///
/// A slot is written as a whole, in sectors of ``sectorSize`` bytes:
///
///     generation 64 bits of the state in the slot
///     write      12 bytes random, new with each write; the nonce of AES-256-GCM
///     data       476 bytes of the slot's contents
///     tag        16 bytes start of the HMAC-SHA-256 of salt, slot, number of the sector and all that stands above
///
/// The contents of a slot are the size of what follows (32 bits), the payload encrypted with AES-256-GCM, its tag, and
/// zeros. A write that a power failure has cut short leaves a mixture of whole sectors of two writes, each with its own
/// generation and a tag that is right. A sector that is damaged has a wrong one.
struct StateSlots: Equatable, Sendable {
    /// What a disk writes as a whole or not at all, in bytes.
    static let sectorSize = 512
    static let saltSize = 16
    static let tagSize = 16
    /// The least and the greatest size of a unit, in bytes: that of a block of a file system.
    static let units = 4096...65536
    private static let markSize = 8 + AES256GCM.nonceSize
    private static let dataSize = sectorSize - markSize - tagSize
    /// The size of the field before the encrypted payload, in bytes.
    private static let lengthSize = 4

    /// Random, new with each file: no sector of another file passes in this one.
    let salt: [UInt8]
    /// The size of the header's place, which no slot shares a block of a file system with, in bytes.
    let unit: Int
    /// The size of a slot, in bytes.
    let size: Int

    /// Creates slots of this size; returns nil if a file cannot have them.
    init?(salt: [UInt8], unit: Int, size: Int) {
        guard salt.count == Self.saltSize, Self.units ~= unit, unit % Self.units.lowerBound == 0, size > 0,
            size % unit == 0, size <= FileFormat.state.sizeLimit / 2, unit + 2 * size <= FileFormat.state.sizeLimit
        else { return nil }
        (self.salt, self.unit, self.size) = (salt, unit, size)
    }

    /// Creates slots of a new file for a payload of this size in bytes, without its tag.
    init(for count: Int, unit: Int) throws(Failure) {
        let sealed = Self.lengthSize + count + AES256GCM.tagSize
        let sectors = (sealed + Self.dataSize - 1) / Self.dataSize
        let units = (sectors * Self.sectorSize + unit - 1) / unit
        guard let slots = Self(salt: try Random.bytes(count: Self.saltSize), unit: unit, size: units * unit) else {
            throw Failure("cannot write the state", because: "it has \(count) bytes")
        }
        self = slots
    }

    /// The unit of new files in a directory: the block of its file system, in bytes.
    static func unit(in directory: borrowing Descriptor) -> Int {
        let size = (try? directory.blockSize("the states")) ?? 0
        return min(max(size, units.lowerBound), units.upperBound) / units.lowerBound * units.lowerBound
    }

    /// The size of the whole file, in bytes.
    var fileSize: Int { unit + 2 * size }
    var sectors: Int { size / Self.sectorSize }

    /// Where a slot begins in the file.
    func offset(of slot: Int) -> Int { unit + slot * size }

    /// Returns whether a payload of this size in bytes, without its tag, has room in a slot.
    func hasRoom(for count: Int) -> Bool {
        Self.lengthSize + count + AES256GCM.tagSize <= sectors * Self.dataSize
    }

    // MARK: - Writing

    /// Encodes one slot; `header` is the file's.
    func encode(
        _ items: SecretMessage,
        generation: UInt64,
        slot: Int,
        header: [UInt8],
        keys: InstanceKeys
    ) throws(Failure) -> [UInt8] {
        precondition(hasRoom(for: items.count), "a state that its slot has no room for")
        let write = try Random.bytes(count: AES256GCM.nonceSize)
        let length = items.count + AES256GCM.tagSize
        let data = associatedData(header, slot: slot, generation: generation, length: length)
        let sealed = try AES256GCM.seal(items, key: keys.encryption, nonce: write, associatedData: data)
        var mark = ByteWriter()
        mark.write(generation)
        mark.write(write)
        var contents = ByteWriter(capacity: sectors * Self.dataSize)
        contents.write(UInt32(length))
        contents.write(sealed)
        contents.write(repeatElement(0, count: sectors * Self.dataSize - contents.bytes.count))
        var bytes: [UInt8] = []
        bytes.reserveCapacity(size)
        for sector in 0..<sectors {
            let start = bytes.count
            bytes += mark.bytes
            bytes += contents.bytes[sector * Self.dataSize..<(sector + 1) * Self.dataSize]
            bytes += try tag(of: bytes[start...], sector: sector, slot: slot, key: keys.tags)
        }
        return bytes
    }

    private func associatedData(_ header: [UInt8], slot: Int, generation: UInt64, length: Int) -> [UInt8] {
        var data = ByteWriter()
        data.write(header)
        data.write(UInt8(slot))
        data.write(generation)
        data.write(UInt32(length))
        return data.bytes
    }

    func tag(
        of bytes: ArraySlice<UInt8>,
        sector: Int,
        slot: Int,
        key: SecretBytes
    ) throws(Failure) -> ArraySlice<UInt8> {
        var message = ByteWriter(capacity: salt.count + 5 + bytes.count)
        message.write(salt)
        message.write(UInt8(slot))
        message.write(UInt32(sector))
        message.write(bytes)
        return try HMACSHA256.tag(key: key, message.bytes).prefix(Self.tagSize)
    }

    // MARK: - Reading

    /// Which write a sector is of.
    private struct Mark: Equatable {
        var generation: UInt64
        var write: ArraySlice<UInt8>
    }

    private func mark(_ sector: Int, of slot: Int, in file: [UInt8]) -> Mark {
        let start = offset(of: slot) + sector * Self.sectorSize
        let generation = file[start..<start + 8].reduce(0) { $0 << 8 | UInt64($1) }
        return Mark(generation: generation, write: file[start + 8..<start + Self.markSize])
    }

    /// What a slot has in it, as its sectors say themselves.
    private enum Contents {
        /// One whole write.
        case whole(UInt64)
        /// A mixture, and the latest generation in it.
        case torn(latest: UInt64)
    }

    private func contents(of slot: Int, in file: [UInt8]) -> Contents {
        let first = mark(0, of: slot, in: file)
        var (isWhole, latest) = (true, first.generation)
        for sector in 1..<sectors {
            let mark = mark(sector, of: slot, in: file)
            if mark != first { isWhole = false }
            latest = max(latest, mark.generation)
        }
        return isWhole ? .whole(latest) : .torn(latest: latest)
    }

    /// Returns the slot that has the state, and its generation; nil if no sequence of our writes leaves such slots.
    ///
    /// A write goes to the slot that does not have the state, and the next one begins only when it is on stable
    /// storage. So the slots have two generations, one after the other, the same one in a new file, or one generation
    /// and a torn write of the next. In all other cases what was written is lost: it must not pass for torn.
    /// The tags of the sectors are not compared, which needs the key.
    func newest(in file: [UInt8]) -> (slot: Int, generation: UInt64)? {
        switch (contents(of: 0, in: file), contents(of: 1, in: file)) {
        case (.whole(let one), .whole(let other)) where one == other || Self.follows(one, other): (0, one)
        case (.whole(let one), .whole(let other)) where Self.follows(other, one): (1, other)
        case (.whole(let one), .torn(let latest)) where Self.follows(latest, one): (0, one)
        case (.torn(let latest), .whole(let other)) where Self.follows(latest, other): (1, other)
        default: nil
        }
    }

    /// Returns the latest generation that any sector names.
    func latest(in file: [UInt8]) -> UInt64 {
        (0..<2).map { slot in
            switch contents(of: slot, in: file) {
            case .whole(let generation), .torn(let generation): generation
            }
        }.reduce(0, max)
    }

    private static func follows(_ generation: UInt64, _ previous: UInt64) -> Bool {
        generation > previous && generation - previous == 1
    }

    /// Returns whether each sector of both slots is one that was written here.
    func isUndamaged(_ file: [UInt8], key: SecretBytes) throws(Failure) -> Bool {
        for slot in 0..<2 {
            for sector in 0..<sectors {
                let start = offset(of: slot) + sector * Self.sectorSize
                let end = start + Self.sectorSize - Self.tagSize
                let tag = try tag(of: file[start..<end], sector: sector, slot: slot, key: key)
                guard HMACSHA256.areEqual(Array(tag), Array(file[end..<end + Self.tagSize])) else { return false }
            }
        }
        return true
    }

    /// Decrypts a slot that has one whole write; returns nil if it is damaged.
    func open(_ slot: Int, of file: [UInt8], header: [UInt8], keys: InstanceKeys) throws(Failure) -> SecretBytes? {
        var contents: [UInt8] = []
        contents.reserveCapacity(sectors * Self.dataSize)
        for sector in 0..<sectors {
            let start = offset(of: slot) + sector * Self.sectorSize + Self.markSize
            contents += file[start..<start + Self.dataSize]
        }
        let length = Int(contents.prefix(Self.lengthSize).reduce(0) { $0 << 8 | UInt32($1) })
        guard length >= AES256GCM.tagSize, length <= contents.count - Self.lengthSize else { return nil }
        let mark = mark(0, of: slot, in: file)
        let data = associatedData(header, slot: slot, generation: mark.generation, length: length)
        return try AES256GCM.open(
            contents[Self.lengthSize..<Self.lengthSize + length],
            key: keys.encryption,
            nonce: Array(mark.write),
            associatedData: data
        )
    }
}
