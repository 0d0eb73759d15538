import Crypto
import Platform
import RuntimeFormat

/// The format of a state file: a header that anybody can read, and a payload that only the instance's key decrypts.
///
///     magic     8 bytes  "CVTPMST" and a line feed
///     version   16 bits  1
///     size      32 bits  size of the header, in bytes, including the check
///     key id    16 bytes the master key that the instance's key is derived from
///     UUID      16 bytes of the instance, random, generated once
///     generation 64 bits one more with each write
///     nonce     12 bytes random, new with each write
///     state id  32 bits length, then UTF-8
///     payload   32 bits  size of the data after the header, in bytes, including the tag
///     check     16 bytes start of the SHA-256 of all before it: distinguishes a damaged header from an unknown key
///     payload   AES-256-GCM, the whole header as associated data; then the tag, 16 bytes
///
/// Integers are big-endian. The payload is a list of items, ``Item``.
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
    let nonce: [UInt8]

    /// Parses a file and checks everything that can be checked without the key.
    ///
    /// Throws a ``Failure`` with a text of its own for each kind of damage, which names `path`.
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

    /// Returns the header of the next generation, with a new nonce.
    ///
    /// Throws a ``Failure`` after generation 2^64 - 1, which no counting of writes comes near.
    package func next(keyID: [UInt8]) throws(Failure) -> StateFile {
        guard generation < UInt64.max else {
            throw Failure("cannot write the state of \"\(stateID)\"", because: "there is no generation after its own")
        }
        return try StateFile(keyID: keyID, uuid: uuid, generation: generation + 1, stateID: stateID)
    }

    /// Encodes the header for a payload of this size in bytes, including the tag.
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

    /// Encrypts a payload with the instance's key; returns the whole file.
    package func encode(_ payload: StatePayload, key: SecretBytes) throws(Failure) -> [UInt8] {
        let plaintext = payload.items
        let header = try header(payloadSize: plaintext.count + AES256GCM.tagSize)
        return header
            + (try AES256GCM.seal(plaintext, key: key, nonce: nonce, associatedData: header))
    }

    /// Decrypts the payload of the file that this header was parsed from, and authenticates the header with it.
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

/// The plaintext of a state file's payload.
public struct StatePayload {
    private static let permanentState: UInt16 = 1
    private static let manufactureComplete: UInt16 = 2

    /// The TPM's whole non-volatile state, libtpms' `permall`; empty before manufacture.
    public let permanent: SecretBytes
    /// Whether manufacture was completed; an interrupted one is repeated, and is no lost state.
    public let isComplete: Bool

    /// Creates the payload of a state to be written.
    public init(permanent: SecretBytes, isComplete: Bool) {
        self.permanent = permanent
        self.isComplete = isComplete
    }

    /// The result of decoding a list of items.
    enum Decoded {
        /// One state.
        case payload(StatePayload)
        /// The list has an item that only a later version knows.
        case unknownItem
        /// It is no list of items, or not one of exactly one state.
        case malformed
    }

    /// Decodes a list of items: exactly one state, and at most one mark that it is complete.
    ///
    /// Any other list was written because of a bug of ours. It must not be treated as a TPM that was never
    /// manufactured, since a new TPM would take its place.
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
        // A state that is complete and empty passes: libtpms refuses it at the start, and no new TPM takes its place.
        return .payload(StatePayload(permanent: permanent, isComplete: found.contains(Self.manufactureComplete)))
    }

    /// The list of items, to be encrypted in place: a copy of the secret would need more locked memory.
    var items: SecretMessage {
        SecretMessage(
            prefix: Item.header(Self.permanentState, count: permanent.count),
            secret: permanent,
            suffix: isComplete ? Item.header(Self.manufactureComplete, count: 0) : []
        )
    }
}
