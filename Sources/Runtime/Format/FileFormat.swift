import Crypto
import Platform

/// A kind of file of this program's: what all of them begin and end with.
///
///     magic     8 bytes  which kind of file it is
///     version   16 bits
///     size      32 bits  of the header or of the whole file, in bytes, the check included
///     fields    of each kind its own
///     check     of all before it
///
/// Integers are big-endian.
public struct FileFormat: Sendable {
    /// What the size and the check are about.
    public enum Extent: Sendable {
        /// The header, which a payload follows.
        case header
        /// The whole file.
        case file
    }

    /// How the check is made.
    public enum Check: Sendable {
        /// The start of the SHA-256 of all before it: it shows damage, and authenticates nothing.
        case digest(size: Int)
        /// With a key that the fields name: whoever has the key compares it.
        case keyed(size: Int)

        var size: Int {
            switch self {
            case .digest(let size), .keyed(let size): size
            }
        }
    }

    /// What it begins with, 8 bytes.
    public let magic: [UInt8]
    /// What it is, for errors: `a state file`.
    public let name: String
    /// The newest version that this program knows, and the one that it writes.
    public let version: UInt16
    /// What its size and its check are about.
    public let extent: Extent
    /// How its check is made.
    public let check: Check
    /// The largest size that is accepted, in bytes.
    public let sizeLimit: Int
    /// What helps if a file is damaged, for errors.
    public let hint: String

    /// Bytes in front of the fields.
    public static let prefixSize = 8 + 2 + 4

    /// Bytes of the check.
    public var checkSize: Int { check.size }

    /// The header, or the whole file, with these fields.
    ///
    /// `tag` makes the check of a format that needs a key, and of no other.
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

    // MARK: - What is wrong with a file

    /// An error about a file; `what` is what could not be done with it.
    public func failure(_ what: String, _ why: String) -> Failure { Failure(what, because: why, hint: hint) }

    /// What is said of a file of another kind.
    public var foreign: String { "it is not \(name)" }

    /// The file ends too early.
    public func truncated(_ what: String) -> Failure { failure(what, "it is truncated") }

    /// The header, or the whole file, is not what this program writes.
    public func damaged(_ what: String) -> Failure {
        switch extent {
        case .header: failure(what, "its header is damaged")
        case .file: failure(what, "it is damaged")
        }
    }
}

/// A file's header, or the whole file where a format has no payload, as far as it is the same for all formats.
public struct FileHeader {
    /// The version of the format.
    public let version: UInt16
    /// Bytes of the header, or of the file; what follows a header is the payload.
    public let size: Int
    /// What stands between the size and the check.
    public var fields: ByteReader
    private let format: FileFormat

    /// Parses a file and looks whether its check is right, unless that takes a key.
    ///
    /// Each way to be wrong has its own words. A check without a key is no protection against somebody who writes another:
    /// the fields are to be read with the same care.
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

    /// Looks whether the payload is all of the rest of the file, and has room for a tag of AES-256-GCM.
    public func checkPayload(size payloadSize: UInt32, in file: [UInt8], _ what: String) throws(Failure) {
        guard file.count - size >= Int(payloadSize) else { throw format.truncated(what) }
        guard file.count - size == Int(payloadSize), Int(payloadSize) >= AES256GCM.tagSize else {
            throw format.failure(what, "its payload is damaged")
        }
    }
}

/// The formats of files of this program's.
///
/// A key in a file of its own, `CVTPMKEY`, has neither size nor check: its id tells a damaged one (`KeyMaterial`).
extension FileFormat {
    /// The state of a vTPM: `StateFile`.
    public static let state = FileFormat(
        magic: Array("CVTPMST\n".utf8),
        name: "a state file",
        version: 1,
        extent: .header,
        check: .digest(size: 16),
        sizeLimit: 1 << 20,
        hint: "restore the file from a backup"
    )

    /// The host's index: `IndexRoot`, and `FirstIndexFormat` in version 1.
    public static let index = FileFormat(
        magic: Array("CVTPMIX\n".utf8),
        name: "an index",
        version: 2,
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

    /// What the hook writes down about a container's vTPM: `Lease`.
    ///
    /// Its texts come from one message between hook and supervisor, which has 32 KiB at most.
    public static let lease = FileFormat(
        magic: Array("CVTPMLS\n".utf8),
        name: "a lease",
        version: 1,
        extent: .file,
        check: .digest(size: 16),
        sizeLimit: 1 << 16,
        hint: "remove its directory once its container is gone"
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
