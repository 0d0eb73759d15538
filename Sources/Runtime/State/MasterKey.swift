import Crypto
import Glibc
import Platform

/// The 256 random bits that all keys of a host's states are derived from.
///
/// Its ID is derived from the key. A state file names the key that it needs by that ID, which reveals nothing of the
/// key.
public struct MasterKey {
    /// The size of a key, in bytes.
    public static let size = AES256GCM.keySize
    /// The size of a key's ID, in bytes.
    public static let idSize = 16

    /// The key's ID, of ``idSize`` bytes.
    public let id: [UInt8]
    /// The key itself; only the supervisor may receive it.
    public let key: SecretBytes

    /// Takes ownership of a key; throws a ``Failure`` if it does not have ``size`` bytes.
    public init(_ key: SecretBytes) throws(Failure) {
        guard key.count == AES256GCM.keySize else {
            throw Failure("cannot use a master key", because: "it has \(key.count) bytes, not \(AES256GCM.keySize)")
        }
        self.id = try Self.id(of: key)
        self.key = key
    }

    /// Fills memory with random bytes for a new key.
    public static func fillRandom(_ key: SecretBytes) throws(Failure) {
        try Random.fill(key)
    }

    /// Derives the keys of one instance with HKDF, with the UUID as the salt. RFC 5869
    package func instanceKeys(uuid: [UInt8], stateID: String) throws(Failure) -> InstanceKeys {
        let name = [0] + Array(stateID.utf8)
        return InstanceKeys(
            encryption: try HKDF.key(from: key, salt: uuid, info: Array("container-vtpm state 1".utf8) + name),
            tags: try HKDF.key(from: key, salt: uuid, info: Array("container-vtpm state tags 2".utf8) + name)
        )
    }

    static func id(of key: SecretBytes) throws(Failure) -> [UInt8] {
        let derived = try HKDF.key(from: key, info: Array("container-vtpm key id 1".utf8))
        return derived.withBytes { Array($0.prefix(idSize)) }
    }
}

/// The keys of one instance under one master key.
package struct InstanceKeys {
    /// The key of AES-256-GCM.
    let encryption: SecretBytes
    /// The key of the tags of a slot's sectors.
    let tags: SecretBytes
}
