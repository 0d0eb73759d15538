import Crypto
import Platform
import RuntimeFormat

/// The format of a state file: a header that anybody can read, and a payload that only the instance's key opens.
///
///     magic     8 bytes  "CVTPMST" and a line feed
///     version   16 bits  1
///     size      32 bits  of the header, in bytes, the check included
///     key id    16 bytes which master key the instance's key is derived from
///     UUID      16 bytes of the instance, random, made once
///     generation 64 bits one more with each write
///     nonce     12 bytes random, new with each write
///     state id  32 bits length, then UTF-8
///     payload   32 bits  size of what follows the header, in bytes, the tag included
///     check     16 bytes start of the SHA-256 of all before it: tells a damaged header from an unknown key
///     payload   AES-256-GCM, the whole header as associated data; then the tag, 16 bytes
///
/// Integers are big-endian. The payload is a list of items, ``Item``.
public struct StateFile: Equatable, Sendable {
    package static let uuidSize = 16
    /// The largest file that is read at all, in bytes.
    package static let sizeLimit = FileFormat.state.sizeLimit

    /// Which master key it needs.
    public let keyID: [UInt8]
    /// The instance.
    public let uuid: [UInt8]
    /// How often the state was written.
    public let generation: UInt64
    /// Whose it is.
    public let stateID: String
    let nonce: [UInt8]

    /// Parses a file and checks all that can be checked without the key.
    ///
    /// Each way to be wrong has its own words; `path` is for them.
    public init(parsing file: [UInt8], path: String) throws(Failure) {
        let what = "cannot load the state \(path)"
        let format = FileFormat.state
        let header = try FileHeader(format, parsing: file, what)
        var fields = header.fields
        guard let keyID = fields.read(count: MasterKey.idSize), let uuid = fields.read(count: Self.uuidSize),
            let generation = fields.read(UInt64.self), let nonce = fields.read(count: AES256GCM.nonceSize),
            let stateID = fields.readText(), let payloadSize = fields.read(UInt32.self), fields.remaining == 0
        else { throw format.damaged(what) }
        try header.checkPayload(size: payloadSize, in: file, what)
        self.keyID = keyID
        self.uuid = uuid
        self.generation = generation
        self.stateID = stateID
        self.nonce = nonce
    }

    package init(keyID: [UInt8], uuid: [UInt8], generation: UInt64, stateID: String) throws(Failure) {
        self.keyID = keyID
        self.uuid = uuid
        self.generation = generation
        self.stateID = stateID
        self.nonce = try Random.bytes(count: AES256GCM.nonceSize)
    }

    /// The header of the next generation.
    ///
    /// There is none after the last number: nothing that counts its writes comes near it.
    package func next(keyID: [UInt8]) throws(Failure) -> StateFile {
        guard generation < UInt64.max else {
            throw Failure("cannot write the state of \"\(stateID)\"", because: "there is no generation after its own")
        }
        return try StateFile(keyID: keyID, uuid: uuid, generation: generation + 1, stateID: stateID)
    }

    /// The header, as it stands at the start of the file.
    func header(payloadSize: Int) throws(Failure) -> [UInt8] {
        var fields = ByteWriter()
        fields.write(keyID)
        fields.write(uuid)
        fields.write(generation)
        fields.write(nonce)
        fields.write(text: stateID)
        fields.write(UInt32(payloadSize))
        return try FileFormat.state.encode(fields)
    }

    /// Encrypts a payload; returns the whole file.
    package func encode(_ payload: StatePayload, key: SecretBytes) throws(Failure) -> [UInt8] {
        let plaintext = payload.items
        let header = try header(payloadSize: plaintext.count + AES256GCM.tagSize)
        return header
            + (try AES256GCM.seal(plaintext, key: key, nonce: nonce, associatedData: header))
    }

    /// Decrypts the payload of the file that this header was parsed from.
    package func decode(_ file: [UInt8], key: SecretBytes, path: String) throws(Failure) -> StatePayload {
        let what = "cannot load the state \(path)"
        let headerSize = try FileHeader(.state, parsing: file, what).size
        guard
            let plaintext = try AES256GCM.open(
                file[headerSize...],
                key: key,
                nonce: nonce,
                associatedData: Array(file[..<headerSize])
            )
        else {
            throw FileFormat.state.failure(what, "its payload is damaged")
        }
        switch try StatePayload.decode(plaintext) {
        case .payload(let payload): return payload
        case .unknownItem:
            throw Failure(what, because: "it holds items that this version does not know", hint: "upgrade")
        case .malformed:
            throw FileFormat.state.failure(what, "its payload is not one TPM's state")
        }
    }
}

/// What a state file protects.
public struct StatePayload {
    private static let permanentState: UInt16 = 1
    private static let manufactureComplete: UInt16 = 2

    /// The TPM's whole non-volatile state, libtpms' `permall`; nothing in it before manufacture.
    public let permanent: SecretBytes
    /// Whether manufacture ended: an interrupted one is repeated, and is not a lost state.
    public let isComplete: Bool

    /// A state to be written.
    public init(permanent: SecretBytes, isComplete: Bool) {
        self.permanent = permanent
        self.isComplete = isComplete
    }

    /// What a list of items was found to be.
    enum Decoded {
        /// One state.
        case payload(StatePayload)
        /// It has an item that only a later version knows.
        case unknownItem
        /// It is no list of items, or not one of exactly one state.
        case malformed
    }

    /// Reads a list of items: exactly one state, and at most one mark that it is complete.
    ///
    /// Anything else was written by a mistake of ours. It must not pass for a TPM that was never manufactured, since a
    /// new one would take its place.
    static func decode(_ plaintext: SecretBytes) throws(Failure) -> Decoded {
        let permanent = try SecretBytes(capacity: max(plaintext.count, 1))
        var found: Set<UInt16> = []
        let fault: Decoded? = plaintext.withBytes { bytes in
            var items = ItemReader(bytes)
            while let (kind, range) = items.next() {
                guard kind == Self.permanentState || kind == Self.manufactureComplete else { return .unknownItem }
                guard found.insert(kind).inserted else { return .malformed }
                let contents = UnsafeRawBufferPointer(rebasing: bytes[range])
                switch kind {
                case Self.permanentState: guard permanent.append(copying: contents) else { return .malformed }
                default: guard contents.isEmpty else { return .malformed }
                }
            }
            return items.isAtEnd ? nil : .malformed
        }
        if let fault { return fault }
        guard found.contains(Self.permanentState) else { return .malformed }
        // A complete one that is empty is no state that libtpms starts from, and no reason to make another.
        return .payload(StatePayload(permanent: permanent, isComplete: found.contains(Self.manufactureComplete)))
    }

    /// The list of items, to be encrypted from where it lies: a copy would be locked memory again.
    var items: SecretMessage {
        SecretMessage(
            prefix: Item.header(Self.permanentState, count: permanent.count),
            secret: permanent,
            suffix: isComplete ? Item.header(Self.manufactureComplete, count: 0) : []
        )
    }
}
