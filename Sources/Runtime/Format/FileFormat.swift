import Crypto
import Platform

/// The format of one kind of our files: the fields that all of them begin and end with.
///
///     magic     8 bytes  which kind of file it is
///     version   16 bits
///     size      32 bits  of the header or of the whole file, in bytes, including the check
///     fields    different for each kind
///     check     of all before it
///
/// Integers are big-endian.
public struct FileFormat: Sendable {
    /// The part of the file that the size and the check cover.
    public enum Extent: Sendable {
        /// The header, which is followed by a payload.
        case header
        /// The whole file.
        case file
    }

    /// The kind of the check, with its size in bytes.
    public enum Check: Sendable {
        /// The start of the SHA-256 of all before it, which reveals damage but does not authenticate the file.
        case digest(size: Int)
        /// A tag that depends on a key, which the fields name; the owner of the key compares it.
        case keyed(size: Int)

        var size: Int {
            switch self {
            case .digest(let size), .keyed(let size): size
            }
        }
    }

    /// The first 8 bytes of the file.
    public let magic: [UInt8]
    /// The kind of file for errors, with its article: `a state file`.
    public let name: String
    /// The newest version that this program can read, which it also writes.
    public let version: UInt16
    /// The part of the file that the size and the check cover.
    public let extent: Extent
    /// The kind of the check.
    public let check: Check
    /// The largest value of the size field that is accepted, in bytes.
    public let sizeLimit: Int
    /// The hint for a damaged file, for errors.
    public let hint: String

    /// The size of magic, version and size, in bytes.
    public static let prefixSize = 8 + 2 + 4

    /// The size of the check, in bytes.
    public var checkSize: Int { check.size }

    /// Encodes the header, or the whole file, with these fields.
    ///
    /// `tag` computes the check of a format that needs a key; other formats ignore it.
    public func encode(
        _ fields: ByteWriter,
        tag: (([UInt8]) throws(Failure) -> [UInt8])? = nil
    ) throws(Failure) -> [UInt8] {
        var writer = ByteWriter()
        writer.write(magic)
        writer.write(version)
        writer.write(UInt32(Self.prefixSize + fields.bytes.count + checkSize))
        writer.write(fields.bytes)
        let whole: [UInt8]
        switch check {
        case .digest: whole = try SHA256.digest(writer.bytes)
        case .keyed:
            guard let tag else { preconditionFailure("\(name) takes a key") }
            whole = try tag(writer.bytes)
        }
        precondition(whole.count >= checkSize, "a check that is too short")
        writer.write(whole.prefix(checkSize))
        return writer.bytes
    }

    // MARK: - Errors

    /// Returns an error with the format's hint; `what` says which operation failed.
    public func failure(_ what: String, _ why: String) -> Failure { Failure(what, because: why, hint: hint) }

    /// The cause of an error about a file of another kind.
    public var foreign: String { "it is not \(name)" }

    /// Returns the error for a file that ends too early.
    public func truncated(_ what: String) -> Failure { failure(what, "it is truncated") }

    /// Returns the error for a header, or a whole file, that this program cannot have written.
    public func damaged(_ what: String) -> Failure {
        switch extent {
        case .header: failure(what, "its header is damaged")
        case .file: failure(what, "it is damaged")
        }
    }
}

/// The header of a file, or the whole file if its format has no payload, as far as all formats share it.
public struct FileHeader {
    /// The version of the format.
    public let version: UInt16
    /// The size of the header or of the whole file, in bytes; a payload follows a header.
    public let size: Int
    /// The fields between the size and the check.
    public var fields: ByteReader
    private let format: FileFormat

    /// Parses a file and compares its check, unless that needs a key.
    ///
    /// Throws a ``Failure`` with a text of its own for each kind of damage. A check without a key does not protect
    /// against an attacker, who can write another one: the fields have to be read with the same care.
    public init(_ format: FileFormat, parsing file: [UInt8], _ what: String) throws(Failure) {
        var reader = ByteReader(file)
        guard let magic = reader.read(count: format.magic.count) else { throw format.truncated(what) }
        guard magic == format.magic else { throw format.failure(what, format.foreign) }
        guard let version = reader.read(UInt16.self) else { throw format.truncated(what) }
        guard version <= format.version else {
            throw Failure(
                what,
                because: "it has format \(version), newer than this version's \(format.version)",
                hint: "upgrade"
            )
        }
        guard version > 0 else { throw format.damaged(what) }
        guard let number = reader.read(UInt32.self) else { throw format.truncated(what) }
        let size = Int(number)
        guard size >= FileFormat.prefixSize + format.checkSize, size <= format.sizeLimit else {
            throw format.damaged(what)
        }
        guard file.count >= size else { throw format.truncated(what) }
        if case .file = format.extent, file.count > size { throw format.damaged(what) }
        let checked = Array(file[..<(size - format.checkSize)])
        if case .digest = format.check {
            let digest = try SHA256.digest(checked)
            guard file[checked.count..<size].elementsEqual(digest.prefix(format.checkSize)) else {
                throw format.damaged(what)
            }
        }
        var fields = ByteReader(checked)
        _ = fields.read(count: FileFormat.prefixSize)
        self.version = version
        self.size = size
        self.fields = fields
        self.format = format
    }

    /// Throws a ``Failure`` unless the payload is the whole rest of the file and has room for a tag of AES-256-GCM.
    public func checkPayload(size payloadSize: UInt32, in file: [UInt8], _ what: String) throws(Failure) {
        guard file.count - size >= Int(payloadSize) else { throw format.truncated(what) }
        guard file.count - size == Int(payloadSize), Int(payloadSize) >= AES256GCM.tagSize else {
            throw format.failure(what, "its payload is damaged")
        }
    }
}

/// The formats of our files.
///
/// A master key in a file of its own, `CVTPMKEY`, has neither size nor check: its ID reveals a damaged one
/// (`KeyMaterial`).
extension FileFormat {
    /// The state of a vTPM: `StateFile`.
    public static let state = FileFormat(
        magic: Array("CVTPMST\n".utf8),
        name: "a state file",
        version: 2,
        extent: .header,
        check: .digest(size: 16),
        sizeLimit: 1 << 20,
        hint: "restore the file from a backup"
    )

    /// The host's index: `IndexRoot`, and `FirstIndexFormat` in version 1.
    public static let index = FileFormat(
        magic: Array("CVTPMIX\n".utf8),
        name: "an index",
        version: 3,
        extent: .file,
        check: .keyed(size: HMACSHA256.tagSize),
        sizeLimit: 64 << 20,
        hint: "restore the file from a backup"
    )

    /// A secret that is sealed to a TPM: `SealedSecret`.
    public static let sealedSecret = FileFormat(
        magic: Array("CVTPMSK\n".utf8),
        name: "a sealed secret",
        version: 1,
        extent: .file,
        check: .digest(size: 32),
        sizeLimit: 1 << 16,
        hint: "restore the file from a backup"
    )

    /// The hook's record of a container's vTPM: `Lease`.
    ///
    /// Its strings come from one message between hook and supervisor, which has 32 KiB at most.
    public static let lease = FileFormat(
        magic: Array("CVTPMLS\n".utf8),
        name: "a lease",
        version: 2,
        extent: .file,
        check: .digest(size: 16),
        sizeLimit: 1 << 16,
        hint: "remove its directory once its container is gone"
    )

    /// The key of the host's certificate authority: `AuthorityKeyFile`.
    public static let authorityKey = FileFormat(
        magic: Array("CVTPMCA\n".utf8),
        name: "a certificate authority's key",
        version: 2,
        extent: .file,
        check: .digest(size: 32),
        sizeLimit: 1 << 19,
        hint: "restore the file from a backup"
    )

    /// The key by which the host attests: `AttestationKeyFile`.
    public static let attestationKey = FileFormat(
        magic: Array("CVTPMAK\n".utf8),
        name: "an attestation key",
        version: 1,
        extent: .file,
        check: .digest(size: 32),
        sizeLimit: 1 << 14,
        hint: "make another one: vtpmctl host enroll --new"
    )

    /// A TPM that was made ahead of need: `PoolFile`.
    public static let pool = FileFormat(
        magic: Array("CVTPMPL\n".utf8),
        name: "a TPM of the pool",
        version: 2,
        extent: .file,
        check: .digest(size: 32),
        sizeLimit: 1 << 19,
        hint: "vtpmctl pool fill makes another one"
    )

    /// A state that leaves its host: `StateExport`.
    public static let export = FileFormat(
        magic: Array("CVTPMEX\n".utf8),
        name: "an export",
        version: 1,
        extent: .header,
        check: .digest(size: 16),
        sizeLimit: 4096,
        hint: "copy the file again"
    )
}
