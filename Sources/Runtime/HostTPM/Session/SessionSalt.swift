import Crypto
import Platform

/// A salt for a session, which only the TPM with a certain storage key can decrypt.
///
/// TPM 2.0 Library, Part 1, 19.6.13; annexes B.10.2, C.6.1
struct SessionSalt {
    /// The salt in plaintext.
    let secret: SecretBytes
    /// The encrypted salt, which is sent to the TPM: the contents of a TPM2B_ENCRYPTED_SECRET.
    let encrypted: [UInt8]

    private static let label = "SECRET"
    private static let what = "cannot make a secret for the TPM"

    /// Makes a new salt for the TPM with this storage key.
    init(for key: StorageKey) throws(Failure) {
        switch key.point {
        case .rsa(let key): try self.init(key)
        case .p256(let point): try self.init(point)
        }
    }

    /// RSA: makes a random salt and encrypts it with OAEP.
    ///
    /// OAEP's `L` is the label with its terminating zero.
    private init(_ key: RSAPublicKey) throws(Failure) {
        self.secret = try Random.secret(count: SHA256.digestSize)
        self.encrypted = try RSAOAEP.encrypt(secret, key, label: Array(Self.label.utf8) + [0], Self.what)
    }

    /// ECC: derives the salt from ECDH with an ephemeral key, whose public point is sent to the TPM.
    private init(_ point: P256Point) throws(Failure) {
        let (own, shared) = try P256Agreement.withNewKey(point, "cannot use the TPM's storage key")
        self.secret = try TPMKeyDerivation.kdfe(
            shared: shared,
            label: Self.label,
            partyU: own.x,
            partyV: point.x
        )
        var encoded = ByteWriter()
        encoded.write(sized: own.x)
        encoded.write(sized: own.y)
        self.encrypted = encoded.bytes
    }
}
