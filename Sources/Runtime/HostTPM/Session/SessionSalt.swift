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
        case .rsa(let modulus, let exponent): try self.init(modulus: modulus, exponent: exponent)
        case .p256(let x, let y): try self.init(AgreementKey.Point(x: x, y: y))
        }
    }

    /// RSA: makes a random salt and encrypts it with OAEP.
    ///
    /// OAEP's `L` is the label with its terminating zero.
    private init(modulus: [UInt8], exponent: UInt32) throws(Failure) {
        self.secret = try Random.secret(count: SHA256.digestSize)
        self.encrypted = try RSAOAEP.encrypt(
            secret,
            modulus: modulus,
            exponent: exponent,
            label: Array(Self.label.utf8) + [0],
            Self.what
        )
    }

    /// ECC: derives the salt from ECDH with an ephemeral key, whose public point is sent to the TPM.
    private init(_ point: AgreementKey.Point) throws(Failure) {
        let key = try AgreementKey.p256(point, "cannot use the TPM's storage key")
        let own = try key.ephemeral(Self.what)
        guard let ownPoint = own.point else { preconditionFailure("a new key is of the same kind") }
        let shared = try own.agree(with: key, Self.what)
        self.secret = try TPMKeyDerivation.kdfe(
            shared: shared,
            label: Self.label,
            partyU: ownPoint.x,
            partyV: point.x
        )
        var encoded = ByteWriter()
        encoded.write(sized: ownPoint.x)
        encoded.write(sized: ownPoint.y)
        self.encrypted = encoded.bytes
    }
}
