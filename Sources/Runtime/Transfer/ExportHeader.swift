import Crypto
import Platform

/// The header of an export: all that a reader needs before it has the key.
///
/// ``StateExport`` has the layout.
struct ExportHeader: Equatable {
    static let magic = Array("CVTPMEX\n".utf8)
    static let version: UInt16 = 1
    static let checkSize = 16
    static let fingerprintSize = 32
    /// The largest header that is looked at, in bytes; ours have less than 300.
    static let sizeLimit = 4096

    /// Where the key comes from.
    enum Protection: Equatable {
        case passphrase(Scrypt, salt: [UInt8])
        case recipient(fingerprint: [UInt8], ephemeral: [UInt8])

        static let passphraseNumber: UInt16 = 1
        static let recipientNumber: UInt16 = 2
    }

    let protection: Protection
    let nonce: [UInt8]
    /// Bytes of what follows the header, the tag included.
    let payloadSize: Int

    /// The header as it stands at the start of the file.
    func encoded() throws(Failure) -> [UInt8] {
        var fields = ByteWriter()
        switch protection {
        case .passphrase(let scrypt, let salt):
            fields.write(Protection.passphraseNumber)
            fields.write(nonce)
            fields.write(scrypt.logN)
            fields.write(scrypt.r)
            fields.write(scrypt.p)
            fields.write(salt)
        case .recipient(let fingerprint, let ephemeral):
            fields.write(Protection.recipientNumber)
            fields.write(nonce)
            fields.write(fingerprint)
            fields.write(UInt32(ephemeral.count))
            fields.write(ephemeral)
        }
        fields.write(UInt32(payloadSize))
        var header = ByteWriter()
        header.write(Self.magic)
        header.write(Self.version)
        header.write(UInt32(Self.magic.count + 2 + 4 + fields.bytes.count + Self.checkSize))
        header.write(fields.bytes)
        header.write(try SHA256.digest(header.bytes).prefix(Self.checkSize))
        return header.bytes
    }

    /// A header to be written.
    init(_ protection: Protection, payloadSize: Int) throws(Failure) {
        self.protection = protection
        self.nonce = try Random.bytes(count: AES256GCM.nonceSize)
        self.payloadSize = payloadSize
    }

    /// Parses a file and checks all that can be checked without the key.
    ///
    /// - Returns: The header, and its size: the payload is what follows, neither more nor less.
    static func parse(_ file: [UInt8], _ what: String) throws(Failure) -> (header: ExportHeader, size: Int) {
        func refuse(_ why: String, remedy: String? = "copy the file again") -> Failure {
            Failure(what, because: why, remedy: remedy)
        }
        guard magic.starts(with: file.prefix(magic.count)) else { throw refuseOther(file, what) }
        var reader = ByteReader(file)
        guard reader.read(count: magic.count) != nil, let version = reader.read(UInt16.self) else {
            throw refuse("it is truncated")
        }
        guard version <= Self.version else {
            throw refuse("it has format \(version), newer than this version's \(Self.version)", remedy: "upgrade")
        }
        guard version == Self.version else { throw refuse("its header is damaged") }
        guard let headerSize = reader.read(UInt32.self) else { throw refuse("it is truncated") }
        guard Int(headerSize) >= reader.offset + checkSize, Int(headerSize) <= sizeLimit else {
            throw refuse("its header is damaged")
        }
        guard file.count >= Int(headerSize) else { throw refuse("it is truncated") }
        let checked = Array(file[..<(Int(headerSize) - checkSize)])
        guard try file[checked.count..<Int(headerSize)].elementsEqual(SHA256.digest(checked).prefix(checkSize)) else {
            throw refuse("its header is damaged")
        }
        // From here on the header is as somebody wrote it, who need not have been one of us.
        guard let number = reader.read(UInt16.self) else { throw refuse("its header is damaged") }
        guard number == Protection.passphraseNumber || number == Protection.recipientNumber else {
            throw refuse("it is protected in a way that this version does not know", remedy: "upgrade")
        }
        guard let nonce = reader.read(count: AES256GCM.nonceSize),
            let protection = number == Protection.passphraseNumber ? passphrase(&reader) : recipient(&reader),
            let payloadSize = reader.read(UInt32.self), reader.offset == checked.count
        else { throw refuse("its header is damaged") }
        guard file.count - Int(headerSize) >= Int(payloadSize) else { throw refuse("it is truncated") }
        guard file.count - Int(headerSize) == Int(payloadSize), Int(payloadSize) >= AES256GCM.tagSize else {
            throw refuse("its payload is damaged")
        }
        return (ExportHeader(protection, nonce, payloadSize: Int(payloadSize)), Int(headerSize))
    }

    /// Says what it is in place of an export, where that can be seen.
    private static func refuseOther(_ file: [UInt8], _ what: String) -> Failure {
        let kinds: [(start: [UInt8], why: String, remedy: String)] = [
            (Array("CVTPMST\n".utf8), "it is a state as it lies on its own host", "vtpmctl state export, on that host"),
            (
                Array("CVTPMKEY".utf8), "it is a master key as it lies on its own host",
                "vtpmctl key export, on that host"
            ),
            (Array("CVTPMSK\n".utf8), "it is a master key that is sealed to a TPM", "vtpmctl key export, on its host"),
            ([2, 1, 0, 10], "it is a state of swtpm's", "add --swtpm"),
            (Array("nilmptws".utf8), "it is a store of swtpm's", "add --swtpm"),
        ]
        let kind = kinds.first { file.starts(with: $0.start) }
        return Failure(what, because: kind?.why ?? "it is not an export", remedy: kind?.remedy)
    }

    private init(_ protection: Protection, _ nonce: [UInt8], payloadSize: Int) {
        self.protection = protection
        self.nonce = nonce
        self.payloadSize = payloadSize
    }

    private static func passphrase(_ reader: inout ByteReader) -> Protection? {
        guard let logN = reader.read(UInt8.self), let r = reader.read(UInt32.self), let p = reader.read(UInt32.self),
            let salt = reader.read(count: Scrypt.saltSize)
        else { return nil }
        return .passphrase(Scrypt(logN: logN, r: r, p: p), salt: salt)
    }

    private static func recipient(_ reader: inout ByteReader) -> Protection? {
        guard let fingerprint = reader.read(count: fingerprintSize), let count = reader.read(UInt32.self),
            let ephemeral = reader.read(count: Int(count))
        else { return nil }
        return .recipient(fingerprint: fingerprint, ephemeral: ephemeral)
    }
}
