import Platform

/// What the host remembers of one state.
public struct IndexEntry: Equatable, Sendable {
    /// Whose state it is.
    public var stateID: String
    /// The instance.
    public var uuid: [UInt8]
    /// The generation that it had at the last start or stop; 0 while it has never been complete.
    public var generation: UInt64
    /// When that was, in seconds since 1970.
    public var lastUse: UInt64
    /// The bundle of the container that used it last; empty where none did.
    public var bundle: String
    /// The state ID that it is being renamed to; empty where it is not.
    public var renamedTo: String

    /// A state that the host has to remember from now on.
    public init(
        stateID: String,
        uuid: [UInt8],
        generation: UInt64,
        lastUse: UInt64 = 0,
        bundle: String = "",
        renamedTo: String = ""
    ) {
        self.stateID = stateID
        self.uuid = uuid
        self.generation = generation
        self.lastUse = lastUse
        self.bundle = bundle
        self.renamedTo = renamedTo
    }
}

/// The format of the host's index: which states there are, and how far each one has come.
///
///     magic     8 bytes  "CVTPMIX" and a line feed
///     version   16 bits  1
///     size      32 bits  of the whole file, in bytes
///     key id    16 bytes which master key the index's key is derived from
///     sequence  64 bits  one more with each write
///     counter   64 bits  the value of the host TPM's counter that belongs to this content; 0 without one
///     identity  32 bits length, then what the counter is recognized by; empty without one
///     entries   32 bits  how many follow
///     entry     state id (32 bits length, UTF-8), UUID (16 bytes), generation (64 bits), last use (64 bits, seconds
///               since 1970), bundle (32 bits length, UTF-8), new state id while it is renamed (32 bits length, UTF-8)
///     tag       32 bytes HMAC-SHA-256 of all before it
///
/// Integers are big-endian. The HMAC's key is HKDF-SHA-256 of the master key with no salt and the info
/// "container-vtpm index 1". The index holds no secret; nobody without the key can make or change one.
public struct IndexFile: Equatable, Sendable {
    static let magic = Array("CVTPMIX\n".utf8)
    static let version: UInt16 = 1
    static let tagSize = 32
    /// The largest index that is read at all, in bytes.
    static let sizeLimit = 64 << 20

    /// Which master key it needs.
    public internal(set) var keyID: [UInt8]
    /// How often it was written.
    public internal(set) var sequence: UInt64
    /// The host TPM's counter value that belongs to it.
    public internal(set) var counter: UInt64
    /// What the counter is recognized by; empty where the index is not bound to one.
    public internal(set) var counterIdentity: [UInt8]
    /// The states, by the names of their directories, which tell apart what Swift's equality of texts does not.
    public internal(set) var entries: [String: IndexEntry]

    /// An index of no states.
    init(keyID: [UInt8]) {
        self.keyID = keyID
        self.sequence = 0
        self.counter = 0
        self.counterIdentity = []
        self.entries = [:]
    }

    /// Parses an index and checks that it was written with one of these keys.
    public init(parsing file: [UInt8], keys: [IndexKey], path: String) throws(Failure) {
        func refuse(_ why: String, _ remedy: String = "restore the file from a backup") -> Failure {
            Failure("cannot load the index \(path)", because: why, remedy: remedy)
        }
        var reader = ByteReader(file)
        guard let magic = reader.read(count: Self.magic.count) else { throw refuse("it is truncated") }
        guard magic == Self.magic else { throw refuse("it is no index") }
        guard let version = reader.read(UInt16.self), let size = reader.read(UInt32.self) else {
            throw refuse("it is truncated")
        }
        guard version <= Self.version else {
            throw refuse("it has format \(version), newer than this version's \(Self.version)", "upgrade")
        }
        guard version == Self.version, Int(size) <= Self.sizeLimit else { throw refuse("it is damaged") }
        guard file.count >= Int(size) else { throw refuse("it is truncated") }
        guard file.count == Int(size), file.count > reader.offset + MasterKey.idSize + Self.tagSize,
            let keyID = reader.read(count: MasterKey.idSize)
        else { throw refuse("it is damaged") }
        guard let key = keys.first(where: { $0.masterKeyID == keyID }) else {
            // A damaged id looks the same as another key's.
            throw refuse("it is damaged, or needs the master key \(StateName.hexadecimal(keyID))")
        }
        guard try key.isGenuine(file) else { throw refuse("it is damaged") }

        // What follows was written by this program: the tag says so.
        var body = ByteReader(Array(file.dropLast(Self.tagSize)))
        guard body.read(count: reader.offset) != nil, let sequence = body.read(UInt64.self),
            let counter = body.read(UInt64.self), let identitySize = body.read(UInt32.self),
            let identity = body.read(count: Int(identitySize)), let count = body.read(UInt32.self)
        else { throw refuse("it is damaged") }
        self.init(keyID: keyID)
        self.sequence = sequence
        self.counter = counter
        self.counterIdentity = identity
        for _ in 0..<count {
            guard let stateID = body.readText(), let uuid = body.read(count: StateFile.uuidSize),
                let generation = body.read(UInt64.self), let lastUse = body.read(UInt64.self),
                let bundle = body.readText(), let renamedTo = body.readText()
            else { throw refuse("it is damaged") }
            entries[try StateName.encoded(stateID)] = IndexEntry(
                stateID: stateID,
                uuid: uuid,
                generation: generation,
                lastUse: lastUse,
                bundle: bundle,
                renamedTo: renamedTo
            )
        }
        guard body.remaining == 0 else { throw refuse("it is damaged") }
    }

    /// The whole file.
    func encoded(with key: IndexKey) throws(Failure) -> [UInt8] {
        precondition(key.masterKeyID == keyID)
        var body = ByteWriter()
        body.write(keyID)
        body.write(sequence)
        body.write(counter)
        body.write(UInt32(counterIdentity.count))
        body.write(counterIdentity)
        body.write(UInt32(entries.count))
        for name in entries.keys.sorted() {
            guard let entry = entries[name] else { continue }
            body.write(text: entry.stateID)
            body.write(entry.uuid)
            body.write(entry.generation)
            body.write(entry.lastUse)
            body.write(text: entry.bundle)
            body.write(text: entry.renamedTo)
        }
        var file = ByteWriter()
        file.write(Self.magic)
        file.write(Self.version)
        file.write(UInt32(Self.magic.count + 2 + 4 + body.bytes.count + Self.tagSize))
        file.write(body.bytes)
        file.write(try key.tag(of: file.bytes))
        return file.bytes
    }
}

/// The key that authenticates an index.
public struct IndexKey {
    let masterKeyID: [UInt8]
    private let key: SecretBytes

    /// Derives it from a master key. RFC 5869
    public init(_ master: MasterKey) throws(Failure) {
        self.masterKeyID = master.id
        self.key = try Cryptography.hkdf(key: master.key, salt: [], info: Array("container-vtpm index 1".utf8))
    }

    func tag(of bytes: [UInt8]) throws(Failure) -> [UInt8] {
        try Cryptography.hmac(key: key, bytes)
    }

    /// Whether the last bytes of a file are the tag of all before them.
    func isGenuine(_ file: [UInt8]) throws(Failure) -> Bool {
        let expected = try tag(of: Array(file.dropLast(IndexFile.tagSize)))
        return Cryptography.areEqual(expected, Array(file.suffix(IndexFile.tagSize)))
    }
}
