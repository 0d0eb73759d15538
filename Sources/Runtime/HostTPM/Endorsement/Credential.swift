import Crypto
import CryptoDigests
import CryptoEndorsement
import Platform
import VTPMProxy

/// A secret that only the TPM with an endorsement key can open, and only if it has an object of a certain name.
///
/// TPM 2.0 Library, Part 1, 24 ("Credential Protection"), B.10.4 and C.6.4; what TPM2_MakeCredential computes, Part 3, 12.6.
package struct Credential {
    /// The secret, ``secretSize`` bytes.
    let secret: SecretBytes
    /// The contents of a TPM2B_ID_OBJECT.
    let blob: [UInt8]
    /// The contents of a TPM2B_ENCRYPTED_SECRET.
    let encryptedSeed: [UInt8]

    /// The size of the secret, in bytes.
    static let secretSize = 32
    private static let label = "IDENTITY"
    private static let what = "cannot make a credential"

    /// Makes a new secret for the TPM with this endorsement key and an object of this name.
    package init(for key: IdentityKey, objectName: [UInt8]) throws(Failure) {
        let (hash, template) = (key.kind.hash, key.kind.standard.template)
        let seed: SecretBytes
        if template.isRSA {
            seed = try Random.secret(count: hash.size)
            let label = Array(Self.label.utf8) + [0]
            encryptedSeed = try EndorsementTransport.encrypt(seed, to: key.publicKey, by: hash, label: label, Self.what)
        } else {
            let size = template.partSize
            let own = try EndorsementTransport.agree(with: key.publicKey, coordinateSize: size, Self.what)
            seed = try hash.kdfe(shared: own.secret, label: Self.label, partyU: own.x, partyV: key.first)
            var encoded = ByteWriter()
            encoded.write(sized: own.x)
            encoded.write(sized: own.y)
            encryptedSeed = encoded.bytes
        }
        secret = try Random.secret(count: Self.secretSize)
        let bits = Int(template.symmetricBits)
        let storage = try hash.kdfa(key: seed, label: "STORAGE", context: objectName, bits: bits)
        let plaintext = try SecretBytes(capacity: 2 + Self.secretSize)
        _ = plaintext.append(copying: [0, UInt8(Self.secretSize)]) && plaintext.append(copying: secret)
        let encrypted = try ZeroVectorCFB.encrypt(plaintext, key: storage, keySize: bits / 8, Self.what)
        let integrity = try hash.kdfa(key: seed, label: "INTEGRITY", context: [], bits: hash.size * 8)
        let tag = try hash.secretTag(key: integrity, encrypted + objectName)
        var blob = ByteWriter()
        blob.write(sized: tag.withBytes { Array($0) })
        blob.write(encrypted)
        self.blob = blob.bytes
    }

    /// Returns whether a TPM has found the secret; compares in constant time.
    package func isOpened(by found: [UInt8]) -> Bool {
        HMACSHA256.areEqual(secret.withBytes { Array($0) }, found)
    }
}

extension DigestAlgorithm {
    /// Derives a key of `bits` bits, the first of what is returned, with KDFa: one block. Part 1, 11.4.10.2; NIST SP 800-108
    fileprivate func kdfa(
        key: SecretBytes,
        label: String,
        context: [UInt8],
        bits: Int
    ) throws(Failure) -> SecretBytes {
        precondition(bits <= size * 8)
        let message = TPMKeyDerivation.kdfaMessage(label: label, contextU: context, contextV: [], bits: bits)
        return try secretTag(key: key, message)
    }

    /// Derives a seed from an ECDH shared secret with KDFe: one block. Part 1, 11.4.10.3; NIST SP 800-56A
    fileprivate func kdfe(
        shared: SecretBytes,
        label: String,
        partyU: [UInt8],
        partyV: [UInt8]
    ) throws(Failure) -> SecretBytes {
        try secretDigest(
            TPMKeyDerivation.kdfeMessage(shared: shared, label: label, partyU: partyU, partyV: partyV)
        )
    }
}
