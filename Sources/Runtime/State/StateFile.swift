import Crypto
import Platform
import RuntimeFormat

/// The format of a state file: a header that anybody can read, and a payload that only the instance's key decrypts.
///
///     magic     8 bytes  "CVTPMST" and a line feed
///     version   16 bits  2
///     size      32 bits  size of the header, in bytes, including the check
///     key id    16 bytes the master key that the instance's keys are derived from
///     UUID      16 bytes of the instance, random, generated once
///     salt      16 bytes random, new with each file
///     unit      32 bits  where the first slot begins, in bytes
///     slot      32 bits  size of a slot, in bytes
///     state id  32 bits length, then UTF-8
///     check     16 bytes start of the SHA-256 of all before it: distinguishes a damaged header from an unknown key
///
/// Then come zeros up to the first slot, and the two slots, ``StateSlots``. Integers are big-endian. In version 1, which
/// is only read, the header has the generation and a nonce, and the encrypted payload follows it.
public struct StateFile: Equatable, Sendable {
    package static let uuidSize = 16
    /// The largest file that is read at all, in bytes.
    package static let sizeLimit = FileFormat.state.sizeLimit

    /// The ID of the master key that it needs, 16 bytes.
    public let keyID: [UInt8]
    /// The instance's UUID, 16 bytes.
    public let uuid: [UInt8]
    /// The number of the last write; it is one more with each.
    public let generation: UInt64
    /// The ID of the state.
    public let stateID: String
    let form: Form

    /// Where a file has its payload.
    enum Form: Equatable, Sendable {
        /// Nowhere yet.
        case none
        /// After the header, encrypted with this nonce: version 1.
        case first(nonce: [UInt8])
        /// In one of two slots; nil if neither has one that counts.
        case slots(StateSlots, newest: Int?)
    }

    /// Parses a file and checks everything that can be checked without the key.
    ///
    /// Throws a ``Failure`` with a text of its own for each kind of damage, which names `path`.
    public init(parsing file: [UInt8], path: String) throws(Failure) {
        let what = "cannot load the state \(path)"
        let format = FileFormat.state
        let header = try FileHeader(format, parsing: file, what)
        var fields = header.fields
        guard let keyID = fields.read(count: MasterKey.idSize), let uuid = fields.read(count: Self.uuidSize)
        else { throw format.damaged(what) }
        self.keyID = keyID
        self.uuid = uuid
        if header.version == 1 {
            guard let generation = fields.read(UInt64.self), let nonce = fields.read(count: AES256GCM.nonceSize),
                let stateID = fields.readText(), let payloadSize = fields.read(UInt32.self), fields.remaining == 0
            else { throw format.damaged(what) }
            try header.checkPayload(size: payloadSize, in: file, what)
            self.generation = generation
            self.stateID = stateID
            self.form = .first(nonce: nonce)
            return
        }
        guard let salt = fields.read(count: StateSlots.saltSize), let unit = fields.read(UInt32.self),
            let size = fields.read(UInt32.self), let stateID = fields.readText(), fields.remaining == 0,
            let slots = StateSlots(salt: salt, unit: Int(unit), size: Int(size)), header.size <= slots.unit
        else { throw format.damaged(what) }
        guard file.count >= slots.fileSize else { throw format.truncated(what) }
        guard file.count == slots.fileSize, file[header.size..<slots.unit].allSatisfy({ $0 == 0 }) else {
            throw format.damaged(what)
        }
        let newest = slots.newest(in: file)
        self.generation = newest?.generation ?? slots.latest(in: file)
        self.stateID = stateID
        self.form = .slots(slots, newest: newest?.slot)
    }

    package init(keyID: [UInt8], uuid: [UInt8], generation: UInt64, stateID: String) {
        self.init(keyID: keyID, uuid: uuid, generation: generation, stateID: stateID, form: .none)
    }

    private init(keyID: [UInt8], uuid: [UInt8], generation: UInt64, stateID: String, form: Form) {
        self.keyID = keyID
        self.uuid = uuid
        self.generation = generation
        self.stateID = stateID
        self.form = form
    }

    /// Returns the header of the next generation, which has no file yet.
    ///
    /// Throws a ``Failure`` after generation 2^64 - 1, which no counting of writes comes near.
    package func next(keyID: [UInt8]) throws(Failure) -> StateFile {
        guard generation < UInt64.max else {
            throw Failure("cannot write the state of \"\(stateID)\"", because: "there is no generation after its own")
        }
        return StateFile(keyID: keyID, uuid: uuid, generation: generation + 1, stateID: stateID)
    }

    // MARK: - Writing

    private func header(_ slots: StateSlots) throws(Failure) -> [UInt8] {
        var fields = ByteWriter()
        fields.write(keyID)
        fields.write(uuid)
        fields.write(slots.salt)
        fields.write(UInt32(slots.unit))
        fields.write(UInt32(slots.size))
        fields.write(text: stateID)
        return try FileFormat.state.encode(fields)
    }

    /// Encrypts a payload into both slots of a new file; returns the file, and its header with where the payload is.
    ///
    /// Each later write then only changes blocks that the file system has allotted and written already.
    package func encode(
        _ payload: StatePayload,
        keys: InstanceKeys,
        unit: Int = StateSlots.units.lowerBound
    ) throws(Failure) -> (header: StateFile, content: [UInt8]) {
        try encode(items: payload.items(), keys: keys, unit: unit)
    }

    func encode(
        items: SecretMessage,
        keys: InstanceKeys,
        unit: Int = StateSlots.units.lowerBound
    ) throws(Failure) -> (header: StateFile, content: [UInt8]) {
        var slots = try StateSlots(for: items.count, unit: unit)
        // A state ID has 4096 bytes at most.
        if try header(slots).count > unit { slots = try StateSlots(for: items.count, unit: 2 * unit) }
        let header = try header(slots)
        var content = header + [UInt8](repeating: 0, count: slots.unit - header.count)
        for slot in 0..<2 {
            content += try slots.encode(items, generation: generation, slot: slot, header: header, keys: keys)
        }
        return (with(.slots(slots, newest: 0)), content)
    }

    /// A write to one slot of a file.
    struct SlotWrite {
        /// What the file has when the write is done.
        let header: StateFile
        /// The slot.
        let bytes: [UInt8]
        /// Where it begins in the file, in bytes.
        let offset: Int
    }

    /// Encrypts the payload of the next generation into the slot that does not have the state.
    ///
    /// Returns nil if a new file has to be written: for another master key, another unit, or for want of room.
    func overwriting(
        _ payload: StatePayload,
        keyID: [UInt8],
        keys: InstanceKeys,
        unit: Int
    ) throws(Failure) -> SlotWrite? {
        guard case .slots(let slots, let newest?) = form, keyID == self.keyID, slots.unit >= unit,
            case let items = try payload.items(), slots.hasRoom(for: items.count)
        else { return nil }
        let slot = 1 - newest
        let next = try next(keyID: keyID).with(.slots(slots, newest: slot))
        let bytes = try slots.encode(
            items,
            generation: next.generation,
            slot: slot,
            header: header(slots),
            keys: keys
        )
        return SlotWrite(header: next, bytes: bytes, offset: slots.offset(of: slot))
    }

    /// Ensures that a state which was found is on stable storage: its writer may have been killed before the sync.
    ///
    /// The slot is written again, with the same bytes. If a write-back has failed, the kernel has marked its pages clean,
    /// and a sync alone does nothing (fsync(2), NOTES). The first version is synced before it gets its name.
    func rewrite(
        _ content: [UInt8],
        to file: borrowing Descriptor,
        _ disk: any Disk,
        path: String
    ) throws(Failure) {
        guard case .slots(let slots, let newest?) = form else { return }
        let start = slots.offset(of: newest)
        try disk.write(Array(content[start..<start + slots.size]), to: file, at: start, as: path)
        try disk.synchronizeData(file, as: path)
    }

    private func with(_ form: Form) -> StateFile {
        StateFile(keyID: keyID, uuid: uuid, generation: generation, stateID: stateID, form: form)
    }

    // MARK: - Reading

    /// Throws a ``Failure`` if neither slot has a state that counts, which needs no key.
    package func requireState(_ path: String) throws(Failure) {
        if case .slots(_, newest: nil) = form { throw Self.mixed(path) }
    }

    private static func mixed(_ path: String) -> Failure {
        Failure(
            "cannot load the state \(path)",
            because: "it was copied while it was written, or its disk has lost a write",
            hint: "copy it again with vtpmctl state backup, or restore the file from another backup"
        )
    }

    /// Decrypts the payload of the file that this header was parsed from, and authenticates the header with it.
    package func decode(_ file: [UInt8], keys: InstanceKeys, path: String) throws(Failure) -> StatePayload {
        let what = "cannot load the state \(path)"
        let damaged = FileFormat.state.failure(what, "its payload is damaged")
        let headerSize = try FileHeader(.state, parsing: file, what).size
        let header = Array(file[..<headerSize])
        let plaintext: SecretBytes?
        var isFirst = false
        switch form {
        case .none: preconditionFailure("a header without a file")
        case .first(let nonce):
            isFirst = true
            let sealed = file[headerSize...]
            plaintext = try AES256GCM.open(sealed, key: keys.encryption, nonce: nonce, associatedData: header)
        case .slots(let slots, let newest):
            guard try slots.isUndamaged(file, key: keys.tags) else {
                throw FileFormat.state.failure(what, "its payload is damaged, or it was copied while it was written")
            }
            guard let newest else { throw Self.mixed(path) }
            plaintext = try slots.open(newest, of: file, header: header, keys: keys)
        }
        guard let plaintext else { throw damaged }
        switch try StatePayload.decode(plaintext, hasOptionalItems: !isFirst) {
        case .payload(let payload): return payload
        case .unknownItem:
            throw Failure(what, because: "it holds items that this version does not know", hint: "upgrade")
        case .malformed:
            throw FileFormat.state.failure(what, "its payload is not one TPM's state")
        }
    }
}
