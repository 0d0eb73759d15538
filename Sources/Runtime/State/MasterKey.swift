import Glibc
import Platform

/// The key that all keys of a host's states are derived from: 256 random bits.
///
/// Its id is derived from it, so that a state file can say which key it needs without giving anything of it away.
public struct MasterKey {
    /// Bytes of a key.
    public static let size = Cryptography.keySize
    /// Bytes of a key's id.
    public static let idSize = 16

    /// Which key it is.
    public let id: [UInt8]
    /// The key itself, to be handed to the supervisor and nobody else.
    public let key: SecretBytes

    /// Takes over the bytes of a key.
    public init(_ key: SecretBytes) throws(Failure) {
        guard key.count == Cryptography.keySize else {
            throw Failure("cannot use a master key", because: "it has \(key.count) bytes, not \(Cryptography.keySize)")
        }
        self.id = try Self.id(of: key)
        self.key = key
    }

    /// Fills memory with a new key. RAND_priv_bytes(3)
    public static func fillRandom(_ key: SecretBytes) throws(Failure) {
        try key.fill { (buffer) throws(Failure) in try Cryptography.fillRandom(buffer) }
    }

    /// Random bytes that are no secret.
    package static func random(count: Int) throws(Failure) -> [UInt8] { try Cryptography.random(count: count) }

    /// Derives the key of one instance. RFC 5869
    package func instanceKey(uuid: [UInt8], stateID: String) throws(Failure) -> SecretBytes {
        let info = Array("container-vtpm state 1".utf8) + [0] + Array(stateID.utf8)
        return try Cryptography.hkdf(key: key, salt: uuid, info: info)
    }

    static func id(of key: SecretBytes) throws(Failure) -> [UInt8] {
        let derived = try Cryptography.hkdf(key: key, salt: [], info: Array("container-vtpm key id 1".utf8))
        return derived.withBytes { Array($0.prefix(idSize)) }
    }
}
