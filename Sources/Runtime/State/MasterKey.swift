import Crypto
import Glibc
import Platform

/// The key that all keys of a host's states are derived from: 256 random bits.
///
/// Its id is derived from it, so that a state file can say which key it needs without giving anything of it away.
public struct MasterKey {
    /// Bytes of a key.
    public static let size = AES256GCM.keySize
    /// Bytes of a key's id.
    public static let idSize = 16

    /// Which key it is.
    public let id: [UInt8]
    /// The key itself, to be handed to the supervisor and nobody else.
    public let key: SecretBytes

    /// Takes over the bytes of a key.
    public init(_ key: SecretBytes) throws(Failure) {
        guard key.count == AES256GCM.keySize else {
            throw Failure("cannot use a master key", because: "it has \(key.count) bytes, not \(AES256GCM.keySize)")
        }
        self.id = try Self.id(of: key)
        self.key = key
    }

    /// Fills memory with a new key.
    public static func fillRandom(_ key: SecretBytes) throws(Failure) {
        try Random.fill(key)
    }

    /// Derives the key of one instance. RFC 5869
    package func instanceKey(uuid: [UInt8], stateID: String) throws(Failure) -> SecretBytes {
        let info = Array("container-vtpm state 1".utf8) + [0] + Array(stateID.utf8)
        return try HKDF.key(from: key, salt: uuid, info: info)
    }

    static func id(of key: SecretBytes) throws(Failure) -> [UInt8] {
        let derived = try HKDF.key(from: key, info: Array("container-vtpm key id 1".utf8))
        return derived.withBytes { Array($0.prefix(idSize)) }
    }
}
