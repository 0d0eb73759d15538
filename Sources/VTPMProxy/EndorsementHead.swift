import Platform

/// What the host has made of a TPM's identity.
public enum EndorsementLevel: UInt8, Comparable, Sendable {
    /// Nothing, or not all that was asked for.
    case none = 0
    /// A record of its endorsement keys.
    case keys = 1
    /// That record, and certificates for the keys, in the TPM and in the record.
    case certificates = 2

    public static func < (left: EndorsementLevel, right: EndorsementLevel) -> Bool { left.rawValue < right.rawValue }
}

/// How the host's record of a TPM's endorsement begins: all that those need to know of it who hand it on.
public struct EndorsementHead: Equatable, Sendable {
    /// What was made.
    public let level: EndorsementLevel
    /// The mark of each endorsement key that is this TPM's alone: the number of the ``StandardKey``, and the SHA-256 of the
    /// SubjectPublicKeyInfo in DER.
    public let keys: [[UInt8]]

    /// The size of a mark, in bytes.
    public static let markSize = 33
    /// The most keys that a TPM has.
    public static let keyLimit = 8

    /// Creates the head of a record.
    public init(level: EndorsementLevel, keys: [[UInt8]]) {
        self.level = level
        self.keys = keys
    }

    /// Reads the head of a record; one that is malformed, or empty, is that of nothing.
    public init(of record: [UInt8]) {
        var reader = ByteReader(record)
        self = EndorsementHead(&reader) ?? EndorsementHead(level: .none, keys: [])
    }

    /// Writes it: the level in 8 bits, the number of keys in 8 bits, the marks.
    public func encode(into writer: inout ByteWriter) {
        writer.write(level.rawValue)
        writer.write(UInt8(clamping: keys.count))
        for key in keys { writer.write(key) }
    }

    /// Reads it; returns nil if it is malformed.
    public init?(_ reader: inout ByteReader) {
        guard let number = reader.read(UInt8.self), let level = EndorsementLevel(rawValue: number),
            let count = reader.read(UInt8.self), count <= Self.keyLimit
        else { return nil }
        var keys: [[UInt8]] = []
        for _ in 0..<count {
            guard let key = reader.read(count: Self.markSize) else { return nil }
            keys.append(key)
        }
        self.init(level: level, keys: keys)
    }
}

/// Whether keys are an instance's alone.
public enum KeyClaim: UInt8, Sendable {
    /// They are, and are recorded as such.
    case own = 0
    /// Another state has one of them.
    case taken = 1
    /// The instance is recorded with another key of the same kind.
    case changed = 2
}
