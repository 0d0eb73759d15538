import Platform
import RuntimeFormat
import VTPMProxy

/// A record of the index: what the host knows about one state.
public struct IndexEntry: Equatable, Sendable {
    /// The ID of the state.
    public var stateID: String
    /// The instance's UUID, 16 bytes.
    public var uuid: [UInt8]
    /// The generation at the last start or stop; 0 while the state has never been complete.
    public var generation: UInt64
    /// The time of the last start or stop, in seconds since 1970; 0 if it was never started.
    public var lastUse: UInt64
    /// The bundle of the container that used it last; empty if none did.
    public var bundle: String
    /// The ID of the container that used it last; empty if none did, or if it is longer than ``containerIDLimit``.
    public var containerID: String
    /// The state ID that it is being renamed to; empty if it is not.
    public var renamedTo: String
    /// The ID of the state that is being renamed to this one; empty if none is.
    public var renamedFrom: String
    /// How long the state is kept after its last use, in seconds; nil if it is kept until somebody removes it.
    public var keptFor: UInt64?
    /// The version of the libtpms that served the state last, as `major.minor.patch`; empty if unknown.
    public var library: String
    /// The marks of its endorsement keys (``EndorsementHead/keys``), one of each kind; empty if they are not recorded.
    public var endorsementKeys: [[UInt8]]
    /// The items of later versions that a reader may ignore; they are written back unchanged.
    var others: [Item]

    /// What counts as the bundle of a command on the host, which has none: the root directory, which is never gone.
    public static let commandBundle = "/"

    /// The longest container ID that is recorded, in bytes of UTF-8.
    public static let containerIDLimit = 1024

    /// Creates the record of a state; the container's ID, the retention and the version of libtpms are empty.
    public init(
        stateID: String,
        uuid: [UInt8],
        generation: UInt64,
        lastUse: UInt64 = 0,
        bundle: String = "",
        renamedTo: String = "",
        renamedFrom: String = ""
    ) {
        self.stateID = stateID
        self.uuid = uuid
        self.generation = generation
        self.lastUse = lastUse
        self.bundle = bundle
        self.containerID = ""
        self.renamedTo = renamedTo
        self.renamedFrom = renamedFrom
        self.keptFor = nil
        self.library = ""
        self.endorsementKeys = []
        self.others = []
    }
}

/// The encoding of a record in the journal and in the tree of the index.
///
///     state id  32 bits length, then UTF-8
///     UUID      16 bytes
///     generation 64 bits
///     last use  64 bits, seconds since 1970
///     items     a list of ``Item``, in ascending order of their kinds, without duplicates
///
/// A reader may ignore an unknown kind whose highest bit is set.
extension IndexEntry {
    private enum Kind {
        static let bundle: UInt16 = 1
        static let renamedTo: UInt16 = 2
        static let renamedFrom: UInt16 = 3
        static let containerID: UInt16 = 0x8001
        static let keptFor: UInt16 = 0x8002
        static let library: UInt16 = 0x8003
        static let endorsementKeys: UInt16 = 0x8004
        /// The highest bit of a kind, which is set in those that a reader may ignore.
        static let ignorable: UInt16 = 0x8000
    }

    /// The longest record, in bytes; one always fits into a node of the tree.
    static let sizeLimit = 15 * 1024

    /// The encoded record.
    ///
    /// Throws a ``Failure`` if it is longer than ``sizeLimit``.
    var encoded: [UInt8] {
        get throws(Failure) {
            var writer = ByteWriter()
            writer.write(text: stateID)
            writer.write(uuid)
            writer.write(generation)
            writer.write(lastUse)
            for item in items { writer.write(item) }
            guard writer.bytes.count <= Self.sizeLimit else {
                throw Failure(
                    "cannot remember the state \"\(String(stateID.unicodeScalars.prefix(64)))\"",
                    because: "its ID and the path of its bundle have \(writer.bytes.count) bytes together, "
                        + "more than \(Self.sizeLimit)"
                )
            }
            return writer.bytes
        }
    }

    private var items: [Item] {
        var items = others
        func add(_ kind: UInt16, _ text: String) {
            if !text.isEmpty { items.append(Item(kind, Array(text.utf8))) }
        }
        add(Kind.bundle, bundle)
        add(Kind.renamedTo, renamedTo)
        add(Kind.renamedFrom, renamedFrom)
        add(Kind.containerID, containerID)
        add(Kind.library, library)
        if let keptFor {
            var seconds = ByteWriter()
            seconds.write(keptFor)
            items.append(Item(Kind.keptFor, seconds.bytes))
        }
        if !endorsementKeys.isEmpty { items.append(Item(Kind.endorsementKeys, endorsementKeys.flatMap { $0 })) }
        return items.sorted { $0.kind < $1.kind }
    }

    /// Decodes a record; returns nil if it is malformed.
    ///
    /// Throws a ``Failure`` if it has an item that this version does not know and a reader must not ignore.
    init?(decoding bytes: [UInt8]) throws(Failure) {
        var reader = ByteReader(bytes)
        guard let stateID = reader.readText(), let uuid = reader.read(count: StateFile.uuidSize),
            let generation = reader.read(UInt64.self), let lastUse = reader.read(UInt64.self)
        else { return nil }
        self.init(stateID: stateID, uuid: uuid, generation: generation, lastUse: lastUse)
        var last: UInt16 = 0
        while reader.remaining > 0 {
            guard let item = reader.readItem(), item.kind > last else { return nil }
            last = item.kind
            guard try take(item) else { return nil }
        }
    }

    /// Adds the value of one item to the record; returns false if the item is malformed.
    private mutating func take(_ item: Item) throws(Failure) -> Bool {
        switch item.kind {
        case Kind.keptFor:
            var reader = ByteReader(item.contents)
            keptFor = reader.read(UInt64.self)
            return keptFor != nil && reader.remaining == 0
        case Kind.endorsementKeys:
            var reader = ByteReader(item.contents)
            while let mark = reader.read(count: EndorsementHead.markSize) { endorsementKeys.append(mark) }
            return !endorsementKeys.isEmpty && reader.remaining == 0
        case Kind.bundle, Kind.renamedTo, Kind.renamedFrom, Kind.containerID, Kind.library:
            guard let text = String(validating: item.contents, as: UTF8.self), !text.isEmpty else { return false }
            switch item.kind {
            case Kind.bundle: bundle = text
            case Kind.renamedTo: renamedTo = text
            case Kind.renamedFrom: renamedFrom = text
            case Kind.containerID: containerID = text
            default: library = text
            }
            return true
        default:
            guard item.kind & Kind.ignorable != 0 else {
                throw Failure(
                    "cannot load the record of the state \"\(String(stateID.unicodeScalars.prefix(64)))\"",
                    because: "it holds items that this version does not know",
                    hint: "upgrade"
                )
            }
            others.append(item)
            return true
        }
    }
}
