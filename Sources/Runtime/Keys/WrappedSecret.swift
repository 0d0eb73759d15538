import Crypto
import Platform
import RuntimeFormat
import RuntimeState

/// How a secret lies in a file of the host's: the master key encrypts it, and its tag covers the fields beside it.
///
///     key id        16 bytes the master key that the file needs
///     salt          32 bytes random, new with each file
///     fields        those of the format
///     sealed        16 bits size, then the secret, AES-256-GCM with a key of HKDF and a nonce of zeros; the tag
///
/// They stand between what all formats begin and end with (``FileFormat``). Integers are big-endian.
struct WrappedSecret {
    let format: FileFormat
    /// HKDF's info, which no other format has.
    let info: String
    /// What cannot be done with a file that is damaged, for errors.
    let what: String

    private static let saltSize = 32
    // The key is used once.
    private static let nonce = [UInt8](repeating: 0, count: AES256GCM.nonceSize)

    /// Encodes a whole file.
    func encode(
        _ secret: SecretBytes,
        under master: MasterKey,
        fields write: (inout ByteWriter) -> Void
    ) throws(Failure) -> SecretBytes {
        let salt = try Random.bytes(count: Self.saltSize)
        var fields = ByteWriter()
        fields.write(master.id)
        fields.write(salt)
        write(&fields)
        let sealed = try AES256GCM.seal(
            SecretMessage(prefix: [], secret: secret, suffix: []),
            key: HKDF.key(from: master.key, salt: salt, info: Array(info.utf8)),
            nonce: Self.nonce,
            associatedData: fields.bytes
        )
        fields.write(UInt16(clamping: sealed.count))
        fields.write(sealed)
        let encoded = try format.encode(fields)
        let content = try SecretBytes(capacity: encoded.count)
        _ = content.append(copying: encoded)
        return content
    }

    /// Returns the ID of the master key that a whole file needs.
    func keyID(of content: SecretBytes) throws(Failure) -> [UInt8] {
        var fields = try FileHeader(format, parsing: content.withBytes { Array($0) }, what).fields
        guard let keyID = fields.read(count: MasterKey.idSize) else { throw format.damaged(what) }
        return keyID
    }

    /// Decodes a whole file; `read` returns its fields, or nil if they are malformed.
    func decode<Fields>(
        _ content: SecretBytes,
        _ keys: KeyRing,
        fields read: (_ version: UInt16, inout ByteReader) -> Fields?
    ) throws(Failure) -> (fields: Fields, secret: SecretBytes, keyID: [UInt8]) {
        let bytes = content.withBytes { Array($0) }
        let header = try FileHeader(format, parsing: bytes, what)
        var reader = header.fields
        let start = reader.offset
        guard let keyID = reader.read(count: MasterKey.idSize), let salt = reader.read(count: Self.saltSize),
            let fields = read(header.version, &reader)
        else { throw format.damaged(what) }
        let associated = Array(bytes[start..<reader.offset])
        guard let size = reader.read(UInt16.self), let sealed = reader.read(count: Int(size)), reader.remaining == 0
        else { throw format.damaged(what) }
        guard let master = keys.key(keyID) else {
            throw Failure(
                what,
                because: "it needs the master key \(Hexadecimal.encode(keyID)), and this host has \(keys.names())",
                hint: "restore that key"
            )
        }
        let opened = try AES256GCM.open(
            sealed[...],
            key: HKDF.key(from: master.key, salt: salt, info: Array(info.utf8)),
            nonce: Self.nonce,
            associatedData: associated
        )
        guard let opened else { throw format.failure(what, "it was changed") }
        return (fields, opened, keyID)
    }
}
