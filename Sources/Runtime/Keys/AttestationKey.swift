import Crypto
import Platform
import RuntimeControl
import RuntimeFormat
import RuntimeHostTPM
import RuntimeState

/// The file of the key by which the host attests, whose authorization value the master key encrypts.
///
/// It has the form of a ``WrappedSecret``: its magic is "CVTPMAK" and a line feed, its version 1, the secret the authorization
/// value. The fields are the public area of the key, what the TPM has given out as its private part, and the names of its parent and of
/// the endorsement key for which it was made, each with its size in 16 bits.
package struct AttestationKeyFile {
    /// The key, and the authorization value without which the TPM does not use it.
    package struct Contents {
        /// The key as the TPM has given it out.
        package let wrapped: WrappedAttestationKey
        /// The authorization value.
        package let authorization: SecretBytes

        /// Takes over both.
        package init(_ wrapped: WrappedAttestationKey, _ authorization: SecretBytes) {
            self.wrapped = wrapped
            self.authorization = authorization
        }
    }

    private let file: KeyFile

    /// Creates the description of the host's file.
    package init(_ hostPaths: HostPaths, disk: any Disk = LocalDisk()) {
        file = KeyFile(path: hostPaths.attestationKey, disk: disk, name: "the host's attestation key")
    }

    private var wrapping: WrappedSecret {
        WrappedSecret(
            format: .attestationKey,
            info: "container-vtpm attestation 1",
            what: "cannot load the host's attestation key \(file.path)"
        )
    }

    /// Returns whether the key has been made.
    package func exists() throws(Failure) -> Bool { try file.timeOfChange() != nil }

    /// Loads the key; returns nil if it has not been made yet.
    package func load(_ keys: KeyRing) throws(Failure) -> Contents? {
        guard let content = try file.read() else { return nil }
        return try decode(content, keys).contents
    }

    /// Loads the key, or stores the one that `make` returns; a process that was faster has made the one that counts.
    package func loadOrStore(_ keys: KeyRing, _ make: () throws(Failure) -> Contents) throws(Failure) -> Contents {
        if let contents = try load(keys) { return contents }
        _ = try file.create(encode(make(), keys.current))
        guard let contents = try load(keys) else { throw Failure(wrapping.what, because: "it vanished") }
        return contents
    }

    /// Puts another key in the place of the one before, of which nothing stays.
    package func replace(with contents: Contents, _ keys: KeyRing) throws(Failure) {
        try file.supersede(encode(contents, keys.current))
        try file.sweep()
    }

    /// Writes the key's file under the current master key, unless it is.
    ///
    /// Returns false if it needs a master key that is not here; so no rotation fails for a restored one that is of no use.
    package func rewrap(_ keys: KeyRing) throws(Failure) -> Bool {
        guard let content = try file.read() else { return true }
        guard try keys.key(wrapping.keyID(of: content)) != nil else { return false }
        let (contents, keyID) = try decode(content, keys)
        // A killed rotation may not have synced it, and the old key will soon be gone.
        if keyID == keys.current.id {
            try file.synchronize()
        } else {
            try file.supersede(encode(contents, keys.current))
        }
        // What killed processes have left needs the old master key.
        try file.sweep()
        return true
    }

    /// Returns the contents of the file under the current master key, for a backup; nil if the key has not been made.
    package func copy(_ keys: KeyRing) throws(Failure) -> SecretBytes? {
        guard let content = try file.read(), try keys.key(wrapping.keyID(of: content)) != nil else { return nil }
        return try encode(decode(content, keys).contents, keys.current)
    }

    private func encode(_ contents: Contents, _ master: MasterKey) throws(Failure) -> SecretBytes {
        try wrapping.encode(contents.authorization, under: master) { fields in
            let wrapped = contents.wrapped
            for part in [wrapped.key.area, wrapped.privateArea, wrapped.parentName, wrapped.endorsementName] {
                fields.write(UInt16(clamping: part.count))
                fields.write(part)
            }
        }
    }

    private func decode(_ content: SecretBytes, _ keys: KeyRing) throws(Failure) -> (contents: Contents, keyID: [UInt8])
    {
        let found = try wrapping.decode(content, keys) { (_, fields) -> WrappedAttestationKey? in
            var parts: [[UInt8]] = []
            for _ in 0..<4 {
                guard let size = fields.read(UInt16.self), let part = fields.read(count: Int(size)) else { return nil }
                parts.append(part)
            }
            return WrappedAttestationKey(
                publicArea: parts[0],
                privateArea: parts[1],
                parentName: parts[2],
                endorsementName: parts[3]
            )
        }
        return (Contents(found.fields, found.secret), found.keyID)
    }
}
