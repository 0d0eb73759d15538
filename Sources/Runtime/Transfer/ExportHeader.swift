import Crypto
import Platform
import RuntimeFormat

/// The header of an export: everything that a reader needs to compute the key.
///
/// ``StateExport`` describes the layout.
struct ExportHeader: Equatable {
    static let fingerprintSize = 32

    /// The way in which the key is protected.
    enum Protection: Equatable {
        case passphrase(Scrypt, salt: [UInt8])
        case recipient(fingerprint: [UInt8], ephemeral: [UInt8])

        static let passphraseNumber: UInt16 = 1
        static let recipientNumber: UInt16 = 2
    }

    let protection: Protection
    let nonce: [UInt8]
    /// The size of the payload after the header, including the tag, in bytes.
    let payloadSize: Int

    /// Encodes the header with its magic number, version, size and check.
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
        return try FileFormat.export.encode(fields)
    }

    /// Creates the header of a new export, with a random nonce.
    init(_ protection: Protection, payloadSize: Int) throws(Failure) {
        self.protection = protection
        self.nonce = try Random.bytes(count: AES256GCM.nonceSize)
        self.payloadSize = payloadSize
    }

    /// Parses the header of a file and checks everything that can be checked without the key.
    ///
    /// - Returns: The header and its size in bytes. The rest of the file is the payload.
    static func parse(_ file: [UInt8], _ what: String) throws(Failure) -> (header: ExportHeader, size: Int) {
        let format = FileFormat.export
        try refuseOther(file, what)
        let header = try FileHeader(format, parsing: file, what)
        // The check has no key: from here on the header is undamaged, but anybody can have written it.
        var fields = header.fields
        guard let number = fields.read(UInt16.self) else { throw format.damaged(what) }
        guard number == Protection.passphraseNumber || number == Protection.recipientNumber else {
            throw Failure(
                what,
                because: "it is protected in a way that this version does not know",
                hint: "upgrade"
            )
        }
        guard let nonce = fields.read(count: AES256GCM.nonceSize),
            let protection = number == Protection.passphraseNumber ? passphrase(&fields) : recipient(&fields),
            let payloadSize = fields.read(UInt32.self), fields.remaining == 0
        else { throw format.damaged(what) }
        try header.checkPayload(size: payloadSize, in: file, what)
        return (ExportHeader(protection, nonce, payloadSize: Int(payloadSize)), header.size)
    }

    /// Throws if the file is not an export; names its kind if it is a known one.
    private static func refuseOther(_ file: [UInt8], _ what: String) throws(Failure) {
        let kinds: [(start: [UInt8], why: String, hint: String)] = [
            (
                FileFormat.state.magic, "it is a state as it lies on its own host",
                "vtpmctl state export, on that host"
            ),
            (
                Array("CVTPMKEY".utf8), "it is a master key as it lies on its own host",
                "vtpmctl key export, on that host"
            ),
            (
                FileFormat.sealedSecret.magic, "it is a master key that is sealed to a TPM",
                "vtpmctl key export, on its host"
            ),
            ([2, 1, 0, 10], "it is a state of swtpm's", "add --swtpm"),
            (Array("nilmptws".utf8), "it is a store of swtpm's", "add --swtpm"),
        ]
        if let kind = kinds.first(where: { file.starts(with: $0.start) }) {
            throw Failure(what, because: kind.why, hint: kind.hint)
        }
        guard FileFormat.export.magic.starts(with: file.prefix(FileFormat.export.magic.count)) else {
            throw Failure(what, because: "it is not an export")
        }
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
