import Platform
import VTPMProxy

/// A message of a supervisor to the certificate authority, `vtpm-ca`, while a TPM starts.
///
/// supervisor: `begin` — authority: `execute` — supervisor: `response` … authority: `claim` — supervisor: `claimed` …
/// authority: `keep` — supervisor: `kept` … authority: `notice`*, `complete`. In place of any reply the authority can send `failure` and end.
public enum AuthorityRequest: ChannelMessage {
    /// Asks to record and certify a TPM's endorsement keys.
    ///
    /// `instance` is the state's UUID, 16 bytes; it is empty for an ephemeral TPM. A new TPM is one that was manufactured by
    /// this start, with this version of libtpms.
    /// `former` is the record of an earlier start, empty if there is none.
    case begin(instance: [UInt8], isNew: Bool, library: LibraryVersion, former: [UInt8])
    /// The TPM's response follows in the same message.
    case response
    /// Says whether the keys are this instance's alone.
    case claimed(KeyClaim)
    /// Says that the record is on stable storage, if the TPM is not new.
    case kept

    /// The numbers of the messages.
    public enum Kind: UInt8, Sendable {
        case begin = 1
        case response = 3
        case claimed = 5
        case kept = 7
    }

    public static let maximumSize = AuthorityReply.recordLimit + 64

    public var kind: Kind {
        switch self {
        case .begin: .begin
        case .response: .response
        case .claimed: .claimed
        case .kept: .kept
        }
    }

    public func encode(into writer: inout ByteWriter) {
        switch self {
        case .begin(let instance, let isNew, let library, let former):
            writer.write(UInt8(isNew ? 1 : 0))
            writer.write(library.number)
            writer.write(UInt8(clamping: instance.count))
            writer.write(instance)
            writer.write(UInt16(clamping: former.count))
            writer.write(former)
        case .response, .kept: break
        case .claimed(let claim): writer.write(claim.rawValue)
        }
    }

    public init?(_ kind: Kind, _ contents: borrowing Message) {
        var reader = ByteReader(contents.body)
        switch kind {
        case .begin:
            guard let isNew = reader.read(UInt8.self), isNew < 2, let library = reader.read(UInt32.self),
                let size = reader.read(UInt8.self), size == 0 || size == 16,
                let instance = reader.read(count: Int(size)),
                let formerSize = reader.read(UInt16.self), let former = reader.read(count: Int(formerSize)),
                reader.remaining == 0
            else { return nil }
            self = .begin(
                instance: instance,
                isNew: isNew == 1,
                library: LibraryVersion(number: library),
                former: former
            )
        case .response: self = .response
        case .kept: self = .kept
        case .claimed:
            guard let number = reader.read(UInt8.self), let claim = KeyClaim(rawValue: number), reader.remaining == 0
            else { return nil }
            self = .claimed(claim)
        }
    }
}

/// A reply of the certificate authority to a supervisor.
public enum AuthorityReply: ChannelMessage {
    /// A command for the TPM follows in the same message.
    case execute
    /// Asks whether keys are this instance's alone, by their marks (``EndorsementHead/keys``); from now on they are.
    case claim([[UInt8]])
    /// Something is left undone, for this reason; the TPM starts all the same.
    case notice(Failure)
    /// Asks to store the record, which follows in the same message, before the TPM has the certificates in it.
    case keep
    /// All is done; the record of it follows in the same message.
    case complete
    /// The authority could not do what it was asked for, and ends.
    case failure(Failure)

    /// The numbers of the messages.
    public enum Kind: UInt8, Sendable {
        case execute = 2
        case claim = 4
        case notice = 6
        case complete = 8
        case keep = 12
        case failure = 10
    }

    /// The largest record, in bytes: some certificates, and texts as long as paths.
    public static let recordLimit = 28 * 1024

    public static let maximumSize = Failure.relayedLimit

    public var kind: Kind {
        switch self {
        case .execute: .execute
        case .claim: .claim
        case .notice: .notice
        case .complete: .complete
        case .keep: .keep
        case .failure: .failure
        }
    }

    public func encode(into writer: inout ByteWriter) {
        switch self {
        case .execute, .complete, .keep: break
        case .claim(let digests):
            writer.write(UInt8(clamping: digests.count))
            for digest in digests { writer.write(digest) }
        case .notice(let failure), .failure(let failure): failure.encode(into: &writer)
        }
    }

    public init?(_ kind: Kind, _ contents: borrowing Message) {
        switch kind {
        case .execute: self = .execute
        case .complete: self = .complete
        case .keep: self = .keep
        case .claim:
            var reader = ByteReader(contents.body)
            guard let count = reader.read(UInt8.self), count <= EndorsementHead.keyLimit else { return nil }
            var digests: [[UInt8]] = []
            for _ in 0..<count {
                guard let digest = reader.read(count: EndorsementHead.markSize) else { return nil }
                digests.append(digest)
            }
            guard reader.remaining == 0 else { return nil }
            self = .claim(digests)
        case .notice: self = .notice(contents.failure)
        case .failure: self = .failure(contents.failure)
        }
    }
}
