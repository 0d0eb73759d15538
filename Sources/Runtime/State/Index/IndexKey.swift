import Crypto
import Platform

/// The key that authenticates an index.
public struct IndexKey {
    /// The size of a tag, HMAC-SHA-256, in bytes.
    static let tagSize = HMACSHA256.tagSize

    let masterKeyID: [UInt8]
    private let key: SecretBytes

    /// Derives the key from a master key with HKDF-SHA-256, without a salt. RFC 5869
    public init(_ master: MasterKey) throws(Failure) {
        self.masterKeyID = master.id
        self.key = try HKDF.key(from: master.key, info: Array("container-vtpm index 1".utf8))
    }

    func tag(of bytes: [UInt8]) throws(Failure) -> [UInt8] {
        try HMACSHA256.tag(key: key, bytes)
    }

    /// Returns whether the last ``tagSize`` bytes of a file are the tag of all before them.
    func isGenuine(_ file: [UInt8]) throws(Failure) -> Bool {
        let expected = try tag(of: Array(file.dropLast(Self.tagSize)))
        return HMACSHA256.areEqual(expected, Array(file.suffix(Self.tagSize)))
    }
}
