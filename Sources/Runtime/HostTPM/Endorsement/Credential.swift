import Crypto
import Platform

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

    /// Makes a new secret for the TPM with this key and an object of this name.
    package init(for key: EndorsementKey, objectName: [UInt8]) throws(Failure) {
        let seed: SecretBytes
        switch key.point {
        case .rsa(let key):
            seed = try Random.secret(count: SHA256.digestSize)
            encryptedSeed = try RSAOAEP.encrypt(seed, key, label: Array(Self.label.utf8) + [0], Self.what)
        case .p256(let point):
            let (own, shared) = try P256Agreement.withNewKey(point, Self.what)
            seed = try TPMKeyDerivation.kdfe(shared: shared, label: Self.label, partyU: own.x, partyV: point.x)
            var encoded = ByteWriter()
            encoded.write(sized: own.x)
            encoded.write(sized: own.y)
            encryptedSeed = encoded.bytes
        }
        secret = try Random.secret(count: Self.secretSize)
        let encrypted = try Self.encrypt(secret, seed, objectName)
        let key = try TPMKeyDerivation.kdfa(key: seed, label: "INTEGRITY", contextU: [], contextV: [])
        var blob = ByteWriter()
        blob.write(sized: try HMACSHA256.tag(key: key, encrypted + objectName))
        blob.write(encrypted)
        self.blob = blob.bytes
    }

    /// Encrypts the secret, as a TPM2B_DIGEST, with a key of its own and an initialization vector of zeros.
    private static func encrypt(
        _ secret: SecretBytes,
        _ seed: SecretBytes,
        _ name: [UInt8]
    ) throws(Failure) -> [UInt8] {
        let derived = try TPMKeyDerivation.kdfa(key: seed, label: "STORAGE", contextU: name, contextV: [], bits: 128)
        let keyAndVector = try SecretBytes(capacity: 32)
        _ = derived.withBytes { keyAndVector.append(copying: UnsafeRawBufferPointer(rebasing: $0.prefix(16))) }
        _ = keyAndVector.append(copying: [UInt8](repeating: 0, count: 16))
        let plaintext = try SecretBytes(capacity: 2 + secretSize)
        _ = plaintext.append(copying: [0, UInt8(secretSize)]) && plaintext.append(copying: secret)
        return try AESCFB.encrypt(plaintext, keyAndVector: keyAndVector)
    }

    /// Returns whether a TPM has found the secret; compares in constant time.
    package func isOpened(by found: [UInt8]) -> Bool {
        HMACSHA256.areEqual(secret.withBytes { Array($0) }, found)
    }
}
