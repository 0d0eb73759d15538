import Crypto
import Platform
import RuntimeControl
import RuntimeFormat
import RuntimeState

/// The key of the host's certificate authority, and its certificates.
public struct AuthorityKey {
    /// The authority's certificate and those above it, in DER.
    public let chain: [[UInt8]]
    /// The private key in DER.
    public let key: SecretBytes
    /// The certificates that it has revoked, the earliest first.
    public let revoked: [RevokedCertificate]

    /// Creates it from a key and its certificates.
    public init(_ key: SecretBytes, chain: [[UInt8]], revoked: [RevokedCertificate] = []) {
        self.key = key
        self.chain = chain
        self.revoked = revoked
    }
}

/// The file of the authority's key, which the master key encrypts.
///
/// It has the form of a ``WrappedSecret``: its magic is "CVTPMCA" and a line feed, its version 2, the secret the private key. The
/// fields are:
///
///     certificates  8 bits number, then each with its size in 16 bits
///     revoked       16 bits number, then each: 8 bits size, the serial number, the instance (16
///                            bytes), the time in 64 bits; not in version 1
public struct AuthorityKeyFile {
    private let file: KeyFile

    private static let chainLimit = 4

    /// Creates the description of the host's file.
    public init(_ hostPaths: HostPaths, disk: any Disk = LocalDisk()) {
        file = KeyFile(path: hostPaths.authorityKey, disk: disk, name: "the certificate authority's key")
    }

    private var what: String { "cannot load the certificate authority's key \(file.path)" }

    private var wrapping: WrappedSecret {
        WrappedSecret(format: .authorityKey, info: "container-vtpm authority 1", what: what)
    }

    /// Returns whether the key has been made.
    public func exists() throws(Failure) -> Bool { try file.timeOfChange() != nil }

    /// Loads the key; returns nil if it has not been made yet.
    public func load(_ keys: KeyRing) throws(Failure) -> AuthorityKey? {
        guard let content = try file.read() else { return nil }
        return try decode(content, keys).key
    }

    /// Loads the key, or stores the one that `make` returns; a process that was faster has made the one that counts.
    public func loadOrStore(
        _ keys: KeyRing,
        _ make: () throws(Failure) -> AuthorityKey
    ) throws(Failure) -> AuthorityKey {
        if let key = try load(keys) { return key }
        _ = try file.create(encode(make(), keys.current))
        guard let key = try load(keys) else { throw Failure(what, because: "it vanished") }
        return key
    }

    /// Writes the key under the current master key, unless it is.
    public func rewrap(_ keys: KeyRing) throws(Failure) {
        guard let content = try file.read() else { return }
        let (key, keyID) = try decode(content, keys)
        // A killed rotation may not have synced it, and the old key will soon be gone.
        if keyID == keys.current.id {
            try file.synchronize()
        } else {
            try file.supersede(encode(key, keys.current))
        }
        // What killed processes have left holds the key under the old master key.
        try file.sweep()
    }

    /// Returns the contents of the file under the current master key, for a backup or an export; nil if the key has not been made.
    public func copy(_ keys: KeyRing) throws(Failure) -> SecretBytes? {
        guard let key = try load(keys) else { return nil }
        return try encode(key, keys.current)
    }

    /// Takes over the contents of another such file that one of these master keys opens, unless the host has an authority.
    ///
    /// Returns whether the host has that authority now, and not another one.
    public func restore(_ content: SecretBytes, _ keys: KeyRing) throws(Failure) -> Bool {
        let restored = try decode(content, keys).key
        if try file.create(content) { return true }
        guard let own = try load(keys), own.chain == restored.chain else { return false }
        // What either host has revoked stays so.
        try add(restored.revoked, to: own, keys)
        return true
    }

    /// Records that these certificates are revoked; hold the exclusive lock of the keys meanwhile.
    ///
    /// Returns how many of them were not revoked before. Throws if there would be too many for one list.
    @discardableResult
    public func revoke(_ certificates: [RevokedCertificate], _ keys: KeyRing) throws(Failure) -> Int {
        guard let own = try load(keys) else {
            throw Failure("cannot revoke a certificate", because: "the host has no certificate authority yet")
        }
        return try add(certificates, to: own, keys)
    }

    @discardableResult
    private func add(
        _ certificates: [RevokedCertificate],
        to own: AuthorityKey,
        _ keys: KeyRing
    ) throws(Failure) -> Int {
        var revoked = own.revoked
        for certificate in certificates where !revoked.contains(where: { $0.serialNumber == certificate.serialNumber })
        {
            revoked.append(certificate)
        }
        let count = revoked.count - own.revoked.count
        guard count > 0 else { return 0 }
        guard revoked.count <= RevokedCertificate.countLimit else {
            throw Failure(
                "cannot revoke a certificate",
                because: "\(own.revoked.count) are revoked, and \(RevokedCertificate.countLimit) are the most"
            )
        }
        try file.supersede(encode(AuthorityKey(own.key, chain: own.chain, revoked: revoked), keys.current))
        return count
    }

    private func encode(_ key: AuthorityKey, _ master: MasterKey) throws(Failure) -> SecretBytes {
        try wrapping.encode(key.key, under: master) { fields in
            fields.write(UInt8(clamping: key.chain.count))
            for certificate in key.chain {
                fields.write(UInt16(clamping: certificate.count))
                fields.write(certificate)
            }
            RevokedCertificate.encode(key.revoked, into: &fields)
        }
    }

    private func decode(_ content: SecretBytes, _ keys: KeyRing) throws(Failure) -> (key: AuthorityKey, keyID: [UInt8])
    {
        let found = try wrapping.decode(content, keys) { (version, fields) -> ([[UInt8]], [RevokedCertificate])? in
            guard let count = fields.read(UInt8.self), count <= Self.chainLimit else { return nil }
            var chain: [[UInt8]] = []
            for _ in 0..<count {
                guard let size = fields.read(UInt16.self), let certificate = fields.read(count: Int(size)) else {
                    return nil
                }
                chain.append(certificate)
            }
            guard let revoked = version == 1 ? [] : RevokedCertificate.list(&fields) else { return nil }
            return (chain, revoked)
        }
        return (AuthorityKey(found.secret, chain: found.fields.0, revoked: found.fields.1), found.keyID)
    }
}
