import CLibCrypto
import CryptoPrimitives
import Platform

/// A key of libcrypto's, freed with its owner. EVP_PKEY(7)
///
/// The reasons of failures stay in libcrypto's error queue.
package final class LibCryptoKey {
    private let pointer: OpaquePointer

    /// Takes ownership of a key.
    package init(owning pointer: OpaquePointer) { self.pointer = pointer }

    deinit { EVP_PKEY_free(pointer) }

    /// Calls `body` with the key, which lives until `body` returns.
    package func withPointer<Result>(_ body: (OpaquePointer) -> Result) -> Result {
        defer { withExtendedLifetime(self) {} }
        return body(pointer)
    }

    /// Decodes a public key, a SubjectPublicKeyInfo; returns nil if it is malformed or other bytes follow it.
    /// d2i_PUBKEY(3)
    package static func decode(publicKey bytes: UnsafeRawBufferPointer) -> LibCryptoKey? {
        var next = bytes.unsigned
        guard let key = d2i_PUBKEY(nil, &next, bytes.count).map(LibCryptoKey.init), let base = bytes.unsigned,
            next == base + bytes.count
        else { return nil }
        return key
    }

    /// Decodes a private key in DER, in PKCS #8 or the traditional form of its kind. d2i_AutoPrivateKey(3)
    package static func decode(privateKey bytes: UnsafeRawBufferPointer) -> LibCryptoKey? {
        var next = bytes.unsigned
        return d2i_AutoPrivateKey(nil, &next, bytes.count).map(LibCryptoKey.init)
    }

    /// Generates a key of a kind (`EVP_PKEY_EC`), and on this curve where the kind has several. EVP_PKEY_keygen(3)
    package static func generate(_ kind: CInt, curve: String?) -> LibCryptoKey? {
        let context = EVP_PKEY_CTX_new_id(kind, nil)
        defer { EVP_PKEY_CTX_free(context) }
        guard RAND_status() == 1, context != nil, EVP_PKEY_keygen_init(context) == 1 else { return nil }
        if let curve, EVP_PKEY_CTX_set_group_name(context, curve) != 1 { return nil }
        var key: OpaquePointer?
        guard EVP_PKEY_keygen(context, &key) == 1 else { return nil }
        return key.map(LibCryptoKey.init)
    }

    /// Whether the private number is in its range. EVP_PKEY_private_check(3)
    package var hasPrivateNumber: Bool {
        let context = withPointer { EVP_PKEY_CTX_new_from_pkey(nil, $0, nil) }
        defer { EVP_PKEY_CTX_free(context) }
        return context != nil && EVP_PKEY_private_check(context) == 1
    }

    /// Encodes the public key as a SubjectPublicKeyInfo. i2d_PUBKEY(3)
    package func encodePublicKey() -> [UInt8]? {
        withPointer { key in
            let size = i2d_PUBKEY(key, nil)
            guard size > 0 else { return nil }
            var encoded = [UInt8](repeating: 0, count: Int(size))
            let written = encoded.withUnsafeMutableBytes { bytes in
                var next = bytes.unsigned
                return i2d_PUBKEY(key, &next)
            }
            return written == size ? encoded : nil
        }
    }

    /// The size of the secret that it shares with other keys, in bytes; nil if there is none.
    package func agreedSize(with peer: LibCryptoKey) -> Int? {
        var size = 0
        return derive(with: peer, nil, &size) && size > 0 ? size : nil
    }

    /// Computes the secret that it shares with another key, which must fill the output. EVP_PKEY_derive(3)
    package func agree(with peer: LibCryptoKey, into output: UnsafeMutableRawBufferPointer) -> Bool {
        var size = output.count
        return derive(with: peer, output.unsigned, &size) && size == output.count
    }

    private func derive(with peer: LibCryptoKey, _ output: UnsafeMutablePointer<UInt8>?, _ size: inout Int) -> Bool {
        let context = withPointer { EVP_PKEY_CTX_new_from_pkey(nil, $0, nil) }
        defer { EVP_PKEY_CTX_free(context) }
        return context != nil && EVP_PKEY_derive_init(context) == 1
            && peer.withPointer { EVP_PKEY_derive_set_peer(context, $0) } == 1
            && EVP_PKEY_derive(context, output, &size) == 1
    }
}
