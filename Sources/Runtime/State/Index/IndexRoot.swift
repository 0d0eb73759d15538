import Crypto
import Platform
import RuntimeFormat

/// The root of the host's index, which authenticates all of it.
///
/// It is the file `index`, which is replaced as a whole. It names the tree with most of the records, by the digest of
/// its topmost node. It names the end of the journal of later changes, by the tag of its last entry. The last entries
/// themselves are in it, so that a change needs no flush of the journal.
///
///     magic     8 bytes  "CVTPMIX" and a line feed
///     version   16 bits  3
///     size      32 bits  of the whole file, in bytes
///     key id    16 bytes the master key that the index's key is derived from
///     sequence  64 bits  of the last entry of the journal that it vouches for
///     counter   64 bits  the value of the host TPM's counter that belongs to this content; 0 without one
///     identity  32 bits length, then the bytes that identify the counter; empty without one
///     epoch     64 bits  N of `tree.N` and `journal.N`
///     salt      16 bytes random; with it the names of states become keys of the tree
///     base      64 bits  the sequence of the last entry whose changes are in the tree
///     base tag  32 bytes the tag that the first entry of the journal follows
///     last tag  32 bytes the tag of the journal's entry `sequence`; the base tag if `sequence` is the base
///     nodes     64 bits  how many nodes of the tree were ever allocated
///     top       a reference to the topmost node
///     tail      32 bits  where the tail begins in the journal, in bytes; missing in version 2
///     entries   32 bits length, then the tail: entries that the journal may not have; missing in version 2
///     tag       32 bytes HMAC-SHA-256 of all before it
///
/// Integers are big-endian. The HMAC's key is HKDF-SHA-256 of the master key with no salt and the info "container-vtpm
/// index 1".
struct IndexRoot: Equatable {
    /// The largest root that is read, in bytes.
    static let sizeLimit = 4096 + tailLimit
    static let saltSize = 16
    /// The largest tail, in bytes; what is longer is flushed to the journal.
    static let tailLimit = 8192

    var keyID: [UInt8]
    var sequence: UInt64
    var counter: UInt64
    var counterIdentity: [UInt8]
    var epoch: UInt64
    var salt: [UInt8]
    var base: UInt64
    var baseTag: [UInt8]
    var lastTag: [UInt8]
    var nodes: UInt64
    var top: IndexNode.Reference
    /// Where the tail begins in the journal, in bytes.
    var tailStart = 0
    /// The last entries of the journal, as far as they may not be on stable storage in the journal's file.
    var tail: [UInt8] = []

    /// Returns the key of a state's record in the tree: the SHA-256 of the salt and the name of its directory.
    func treeKey(_ name: String) throws(Failure) -> [UInt8] {
        try SHA256.digest(salt, Array(name.utf8))
    }

    /// Encodes the whole file, with its tag.
    func encoded(with key: IndexKey) throws(Failure) -> [UInt8] {
        var body = ByteWriter()
        body.write(keyID)
        body.write(sequence)
        body.write(counter)
        body.write(UInt32(counterIdentity.count))
        body.write(counterIdentity)
        body.write(epoch)
        body.write(salt)
        body.write(base)
        body.write(baseTag)
        body.write(lastTag)
        body.write(nodes)
        top.write(to: &body)
        body.write(UInt32(tailStart))
        body.write(UInt32(tail.count))
        body.write(tail)
        return try FileFormat.index.encode(body) { (bytes) throws(Failure) in try key.tag(of: bytes) }
    }

    /// Parses the fields after the key's ID in a file whose tag is valid; returns nil if they are damaged.
    init?(keyID: [UInt8], hasTail: Bool, _ reader: inout ByteReader) {
        guard let sequence = reader.read(UInt64.self), let counter = reader.read(UInt64.self),
            let identitySize = reader.read(UInt32.self), let identity = reader.read(count: Int(identitySize)),
            let epoch = reader.read(UInt64.self), let salt = reader.read(count: Self.saltSize),
            let base = reader.read(UInt64.self), let baseTag = reader.read(count: IndexKey.tagSize),
            let lastTag = reader.read(count: IndexKey.tagSize), let nodes = reader.read(UInt64.self),
            let top = IndexNode.Reference(&reader), base <= sequence, sequence < UInt64.max, counter < UInt64.max,
            nodes < IndexNode.countLimit
        else { return nil }
        self.init(
            keyID: keyID,
            sequence: sequence,
            counter: counter,
            counterIdentity: identity,
            epoch: epoch,
            salt: salt,
            base: base,
            baseTag: baseTag,
            lastTag: lastTag,
            nodes: nodes,
            top: top
        )
        guard hasTail else { return }
        guard let start = reader.read(UInt32.self), let size = reader.read(UInt32.self), size <= Self.tailLimit,
            start <= IndexJournal.size, let tail = reader.read(count: Int(size)),
            Int(start) + tail.count <= IndexJournal.size
        else { return nil }
        (self.tailStart, self.tail) = (Int(start), tail)
    }

    init(
        keyID: [UInt8],
        sequence: UInt64,
        counter: UInt64,
        counterIdentity: [UInt8],
        epoch: UInt64,
        salt: [UInt8],
        base: UInt64,
        baseTag: [UInt8],
        lastTag: [UInt8],
        nodes: UInt64,
        top: IndexNode.Reference
    ) {
        self.keyID = keyID
        self.sequence = sequence
        self.counter = counter
        self.counterIdentity = counterIdentity
        self.epoch = epoch
        self.salt = salt
        self.base = base
        self.baseTag = baseTag
        self.lastTag = lastTag
        self.nodes = nodes
        self.top = top
    }
}
