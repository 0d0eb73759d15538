import Crypto
import Platform
import RuntimeFormat

@testable import RuntimeState

/// A fixture: writes state files of version 1, which nothing else writes any more.
struct FirstStateFormat {
    var keyID: [UInt8]
    var uuid: [UInt8]
    var generation: UInt64
    var stateID: String
    var nonce = [UInt8](repeating: 12, count: AES256GCM.nonceSize)

    /// The whole file with a list of items as its payload.
    func encode(items: [UInt8], keys: InstanceKeys) throws(Failure) -> [UInt8] {
        var fields = ByteWriter()
        fields.write(keyID)
        fields.write(uuid)
        fields.write(generation)
        fields.write(nonce)
        fields.write(text: stateID)
        fields.write(UInt32(items.count + AES256GCM.tagSize))
        var writer = ByteWriter()
        writer.write(FileFormat.state.magic)
        writer.write(UInt16(1))
        writer.write(UInt32(FileFormat.prefixSize + fields.bytes.count + FileFormat.state.checkSize))
        writer.write(fields.bytes)
        let header = writer.bytes + (try SHA256.digest(writer.bytes).prefix(FileFormat.state.checkSize))
        let plaintext = SecretMessage(prefix: items, secret: try SecretBytes(capacity: 1))
        return header
            + (try AES256GCM.seal(plaintext, key: keys.encryption, nonce: nonce, associatedData: header))
    }
}

/// An item as a state's payload has it.
func stateItem(_ kind: UInt16, _ contents: [UInt8]) -> [UInt8] {
    var writer = ByteWriter()
    writer.write(Item(kind, contents))
    return writer.bytes
}
