import Platform
import RuntimeControl
import RuntimeFormat
import VTPMProxy

/// The host's record of a TPM's identity, which its state carries as an item.
///
/// The certificate authority writes it, and never the worker: a tenant cannot choose what it says, but for the keys.
public struct EndorsementRecord: Equatable, Sendable {
    /// An endorsement key.
    public struct Key: Equatable, Sendable {
        /// Which of the keys it is.
        public var key: StandardKey
        /// The public area, a TPMT_PUBLIC; empty if it is not known. TPM 2.0 Library, Part 2, 12.2.4
        public var area: [UInt8]
        /// The certificate in DER; empty if there is none.
        public var certificate: [UInt8]
        /// What stands in the way of the certificate, or of knowing the key; empty if nothing does.
        public var obstacle: String
        /// Whether the TPM has a certificate of another authority, so that this one issues none.
        public var isForeign: Bool
        /// The SHA-256 of the SubjectPublicKeyInfo, by which the index knows whose the key is; empty if it is not this TPM's
        /// alone.
        public var digest: [UInt8]

        /// The key's mark (``EndorsementHead/keys``); nil if it is not this TPM's alone.
        public var mark: [UInt8]? { digest.isEmpty ? nil : [key.rawValue] + digest }

        /// Creates the record of a key.
        public init(
            _ key: StandardKey,
            area: [UInt8],
            certificate: [UInt8] = [],
            obstacle: String = "",
            isForeign: Bool = false,
            digest: [UInt8] = []
        ) {
            self.key = key
            self.area = area
            self.certificate = certificate
            self.obstacle = obstacle
            self.isForeign = isForeign
            self.digest = digest
        }
    }

    /// What was made; less than what was asked for if something stood in the way.
    public var level: EndorsementLevel
    /// The TPM's UUID, 16 bytes: that of its state.
    public var instance: [UInt8]
    /// When, in seconds since 1970.
    public var time: UInt64
    /// The state's ID; empty for an ephemeral TPM.
    public var stateID: String
    /// The ID of the container that was created then.
    public var containerID: String
    /// The container's bundle.
    public var bundle: String
    /// The container's image, as the engine named it; empty if it did not.
    public var image: String
    /// The keys.
    public var keys: [Key]
    /// The public area of the key by which the TPM will quote, a TPMT_PUBLIC; empty if it is not known.
    public var quotingKey: [UInt8] = []
    /// The certificate of the platform in DER; empty if there is none.
    public var platformCertificate: [UInt8] = []
    /// The authority's certificate and those above it, in DER; empty without certificates.
    public var chain: [[UInt8]]

    /// Creates a record.
    public init(
        level: EndorsementLevel,
        instance: [UInt8],
        time: UInt64,
        stateID: String,
        containerID: String,
        bundle: String,
        image: String,
        keys: [Key],
        chain: [[UInt8]]
    ) {
        self.level = level
        self.instance = instance
        self.time = time
        self.stateID = stateID
        self.containerID = containerID
        self.bundle = bundle
        self.image = image
        self.keys = keys
        self.chain = chain
    }
}

/// The encoding: ``EndorsementHead``, the time in 64 bits, the UUID, then a list of ``Item``.
///
/// A reader passes over an unknown kind.
extension EndorsementRecord {
    private enum Kind {
        static let stateID: UInt16 = 1
        static let containerID: UInt16 = 2
        static let bundle: UInt16 = 3
        static let image: UInt16 = 4
        static let key: UInt16 = 5
        static let certificate: UInt16 = 6
        static let quotingKey: UInt16 = 7
        static let platformCertificate: UInt16 = 8
    }

    private static let instanceSize = 16

    /// The encoded record.
    public var encoded: [UInt8] {
        var writer = ByteWriter()
        EndorsementHead(level: level, keys: keys.compactMap(\.mark)).encode(into: &writer)
        writer.write(time)
        writer.write(instance)
        let texts = [
            (Kind.stateID, stateID), (Kind.containerID, containerID), (Kind.bundle, bundle), (Kind.image, image),
        ]
        for (kind, text) in texts where !text.isEmpty { writer.write(Item(kind, Array(text.utf8))) }
        for key in keys { writer.write(Item(Kind.key, key.encoded)) }
        for certificate in chain { writer.write(Item(Kind.certificate, certificate)) }
        if !quotingKey.isEmpty { writer.write(Item(Kind.quotingKey, quotingKey)) }
        if !platformCertificate.isEmpty { writer.write(Item(Kind.platformCertificate, platformCertificate)) }
        return writer.bytes
    }

    /// Decodes a record; returns nil if it is malformed.
    public init?(decoding bytes: [UInt8]) {
        var reader = ByteReader(bytes)
        guard let head = EndorsementHead(&reader), let time = reader.read(UInt64.self),
            let instance = reader.read(count: Self.instanceSize)
        else { return nil }
        self.init(
            level: head.level,
            instance: instance,
            time: time,
            stateID: "",
            containerID: "",
            bundle: "",
            image: "",
            keys: [],
            chain: []
        )
        while reader.remaining > 0 {
            guard let item = reader.readItem(), take(item) else { return nil }
        }
    }

    private mutating func take(_ item: Item) -> Bool {
        switch item.kind {
        case Kind.stateID, Kind.containerID, Kind.bundle, Kind.image:
            guard let text = String(validating: item.contents, as: UTF8.self) else { return false }
            switch item.kind {
            case Kind.stateID: stateID = text
            case Kind.containerID: containerID = text
            case Kind.bundle: bundle = text
            default: image = text
            }
        case Kind.key:
            guard let key = Key(decoding: item.contents) else { return false }
            keys.append(key)
        case Kind.certificate: chain.append(item.contents)
        case Kind.quotingKey: quotingKey = item.contents
        case Kind.platformCertificate: platformCertificate = item.contents
        default: break
        }
        return true
    }
}

extension EndorsementRecord.Key {
    fileprivate var encoded: [UInt8] {
        var writer = ByteWriter()
        writer.write(key.rawValue)
        writer.write(UInt8(isForeign ? 1 : 0))
        for part in [area, certificate, digest] {
            writer.write(UInt16(clamping: part.count))
            writer.write(part)
        }
        writer.write(text: obstacle)
        return writer.bytes
    }

    fileprivate init?(decoding bytes: [UInt8]) {
        var reader = ByteReader(bytes)
        guard let key = reader.read(UInt8.self).flatMap(StandardKey.init(rawValue:)),
            let isForeign = reader.read(UInt8.self), isForeign < 2,
            let areaSize = reader.read(UInt16.self), let area = reader.read(count: Int(areaSize)),
            let size = reader.read(UInt16.self), let certificate = reader.read(count: Int(size)),
            let digestSize = reader.read(UInt16.self), digestSize == 0 || digestSize == 32,
            let digest = reader.read(count: Int(digestSize)),
            let obstacle = reader.readText(), reader.remaining == 0
        else { return nil }
        self.init(
            key,
            area: area,
            certificate: certificate,
            obstacle: obstacle,
            isForeign: isForeign == 1,
            digest: digest
        )
    }
}
