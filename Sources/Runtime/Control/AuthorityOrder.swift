import Platform
import VTPMProxy

/// A message of a hook, or of `vtpmctl`, to the certificate authority that it has started.
///
/// starter: `confine` — authority: `confined` — starter: either `generate` — authority: `generated`, `key` — or `endorse`, and
/// for certificates `revoked`*, `key` or `external` — or `list`, `revoked`*, `key` — authority: `list`*. In place of any answer the authority can send `failure` and end.
public enum AuthorityOrder: ChannelMessage {
    /// Asks to give up all privileges and become this user.
    case confine(user: UInt32)
    /// Asks for a new key, and for the certificate of an authority with it.
    case generate
    /// Says what to endorse.
    ///
    /// Descriptor: the channel to the supervisor.
    case endorse(EndorsementOrders)
    /// Asks for a list of revoked certificates.
    case list(RevocationOrders)
    /// Names certificates that are revoked, at most ``RevokedCertificate/messageLimit``.
    case revoked([RevokedCertificate])
    /// Hands over a stream to a program that signs, in place of a key, and how long it may take for all, in milliseconds.
    ///
    /// Descriptor: the stream.
    case external(UInt32)
    /// Hands over the authority's private key, which follows in the same message, a secret.
    case key

    /// The numbers of the messages.
    public enum Kind: UInt8, Sendable {
        case confine = 1
        case generate = 3
        case endorse = 5
        case key = 7
        case list = 9
        case revoked = 11
        case external = 13
    }

    /// Some certificates, and texts as long as paths.
    public static let maximumSize = Channel.messageLimit - 1

    public var kind: Kind {
        switch self {
        case .confine: .confine
        case .generate: .generate
        case .endorse: .endorse
        case .key: .key
        case .list: .list
        case .revoked: .revoked
        case .external: .external
        }
    }

    public func encode(into writer: inout ByteWriter) {
        switch self {
        case .revoked(let list): RevokedCertificate.encode(list, into: &writer)
        case .external(let milliseconds): writer.write(milliseconds)
        case .confine(let user): writer.write(user)
        case .endorse(let orders): orders.encode(into: &writer)
        case .list(let orders): orders.encode(into: &writer)
        case .generate, .key: break
        }
    }

    public init?(_ kind: Kind, _ contents: borrowing Message) {
        switch kind {
        case .confine:
            var reader = ByteReader(contents.body)
            guard let user = reader.read(UInt32.self), reader.remaining == 0 else { return nil }
            self = .confine(user: user)
        case .generate: self = .generate
        case .endorse:
            var reader = ByteReader(contents.body)
            guard let orders = EndorsementOrders(&reader), reader.remaining == 0 else { return nil }
            self = .endorse(orders)
        case .list:
            var reader = ByteReader(contents.body)
            guard let orders = RevocationOrders(&reader), reader.remaining == 0 else { return nil }
            self = .list(orders)
        case .revoked:
            var reader = ByteReader(contents.body)
            guard let list = RevokedCertificate.list(&reader, limit: RevokedCertificate.messageLimit),
                reader.remaining == 0
            else { return nil }
            self = .revoked(list)
        case .external:
            var reader = ByteReader(contents.body)
            guard let milliseconds = reader.read(UInt32.self), reader.remaining == 0 else { return nil }
            self = .external(milliseconds)
        // A secret, of which no copy is made here.
        case .key: self = .key
        }
    }
}

/// What the host knows of a TPM that is to be endorsed.
public struct EndorsementOrders: Equatable, Sendable {
    /// What is to be made.
    public var level: EndorsementLevel
    /// The keys that are looked at.
    public var keys: StandardKeys
    /// The container's ID.
    public var containerID: String
    /// The container's bundle.
    public var bundle: String
    /// The image, as the engine names it; empty if it does not.
    public var image: String
    /// The state's ID; empty for an ephemeral TPM.
    public var stateID: String
    /// The time, in seconds since 1970.
    public var time: UInt64
    /// What the certificate of the platform names; nil if none is made.
    public var platform: PlatformName?
    /// Where verifiers find the authority's list of revoked certificates; empty if nowhere.
    public var listURL: String
    /// The authority's certificate and those above it, in DER, or all as one text in PEM; empty without certificates.
    public var chain: [[UInt8]]

    /// The most certificates in a chain.
    package static let chainLimit = 4

    /// Creates orders.
    public init(
        level: EndorsementLevel,
        keys: StandardKeys,
        containerID: String,
        bundle: String,
        image: String,
        stateID: String,
        time: UInt64,
        platform: PlatformName? = nil,
        listURL: String = "",
        chain: [[UInt8]]
    ) {
        self.level = level
        self.keys = keys
        self.containerID = containerID
        self.bundle = bundle
        self.image = image
        self.stateID = stateID
        self.time = time
        self.platform = platform
        self.listURL = listURL
        self.chain = chain
    }

    func encode(into writer: inout ByteWriter) {
        writer.write(level.rawValue)
        writer.write(keys.rawValue)
        writer.write(time)
        for text in [containerID, bundle, image, stateID, listURL] { writer.write(text: text) }
        writer.write(UInt8(platform == nil ? 0 : 1))
        platform?.encode(into: &writer)
        writer.write(UInt8(clamping: chain.count))
        for certificate in chain {
            writer.write(UInt16(clamping: certificate.count))
            writer.write(certificate)
        }
    }

    init?(_ reader: inout ByteReader) {
        guard let level = reader.read(UInt8.self).flatMap(EndorsementLevel.init(rawValue:)),
            let bits = reader.read(UInt16.self), StandardKeys(rawValue: bits).isKnown,
            let time = reader.read(UInt64.self), let containerID = reader.readText(), let bundle = reader.readText(),
            let image = reader.readText(), let stateID = reader.readText(), let listURL = reader.readText(),
            let hasPlatform = reader.read(UInt8.self),
            hasPlatform < 2, case let platform = hasPlatform == 1 ? PlatformName(&reader) : nil,
            (platform != nil) == (hasPlatform == 1), let count = reader.read(UInt8.self), count <= Self.chainLimit
        else { return nil }
        var chain: [[UInt8]] = []
        for _ in 0..<count {
            guard let size = reader.read(UInt16.self), let certificate = reader.read(count: Int(size)) else {
                return nil
            }
            chain.append(certificate)
        }
        self.init(
            level: level,
            keys: StandardKeys(rawValue: bits),
            containerID: containerID,
            bundle: bundle,
            image: image,
            stateID: stateID,
            time: time,
            platform: platform,
            listURL: listURL,
            chain: chain
        )
    }
}

/// An answer of the certificate authority to who has started it.
public enum AuthorityAnswer: ChannelMessage {
    /// The authority has given up all privileges for good.
    case confined
    /// The certificate of the new key, in DER.
    case generated([UInt8])
    /// The new key follows in the same message, a secret.
    case key
    /// A chunk of the list of revoked certificates in DER follows in the same message; the last has less than
    /// ``Channel/chunkSize`` bytes.
    case list
    /// The authority could not do what it was asked for, and ends.
    case failure(Failure)

    /// The numbers of the messages.
    public enum Kind: UInt8, Sendable {
        case confined = 2
        case generated = 4
        case key = 6
        case failure = 8
        case list = 10
    }

    public static let maximumSize = Failure.relayedLimit

    public var kind: Kind {
        switch self {
        case .confined: .confined
        case .generated: .generated
        case .key: .key
        case .list: .list
        case .failure: .failure
        }
    }

    public func encode(into writer: inout ByteWriter) {
        switch self {
        case .confined, .key, .list: break
        case .generated(let certificate):
            writer.write(UInt16(clamping: certificate.count))
            writer.write(certificate)
        case .failure(let failure): failure.encode(into: &writer)
        }
    }

    public init?(_ kind: Kind, _ contents: borrowing Message) {
        switch kind {
        case .confined: self = .confined
        case .generated:
            var reader = ByteReader(contents.body)
            guard let size = reader.read(UInt16.self), let certificate = reader.read(count: Int(size)),
                reader.remaining == 0
            else { return nil }
            self = .generated(certificate)
        case .key: self = .key
        case .list: self = .list
        case .failure: self = .failure(contents.failure)
        }
    }
}
