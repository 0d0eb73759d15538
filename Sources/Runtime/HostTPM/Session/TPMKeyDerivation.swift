import Crypto
import Platform

/// The key derivation functions of TPM 2.0 with SHA-256, limited to one block of 256 bits.
enum TPMKeyDerivation {
    /// Derives a key of `bits` bits, the first of what is returned, from another key with KDFa. TPM 2.0 Library, Part 1, 11.4.10.2; NIST SP 800-108, counter mode
    static func kdfa(
        key: SecretBytes,
        label: String,
        contextU: [UInt8],
        contextV: [UInt8],
        bits: Int = SHA256.digestSize * 8
    ) throws(Failure) -> SecretBytes {
        let message = kdfaMessage(label: label, contextU: contextU, contextV: contextV, bits: bits)
        return try HMACSHA256.secretTag(key: key, message)
    }

    /// Returns what KDFa computes an HMAC of for its first block, whatever the hash is.
    static func kdfaMessage(label: String, contextU: [UInt8], contextV: [UInt8], bits: Int) -> [UInt8] {
        var data = ByteWriter()
        data.write(UInt32(1))
        data.write(label.utf8)
        data.write(UInt8(0))
        data.write(contextU)
        data.write(contextV)
        data.write(UInt32(bits))
        return data.bytes
    }

    /// Derives a key from an ECDH shared secret with KDFe. Part 1, 11.4.10.3; NIST SP 800-56A
    static func kdfe(
        shared: SecretBytes,
        label: String,
        partyU: [UInt8],
        partyV: [UInt8]
    ) throws(Failure) -> SecretBytes {
        try SHA256.secretDigest(kdfeMessage(shared: shared, label: label, partyU: partyU, partyV: partyV))
    }

    /// Returns what KDFe computes a digest of for its first block, whatever the hash is.
    static func kdfeMessage(shared: SecretBytes, label: String, partyU: [UInt8], partyV: [UInt8]) -> SecretMessage {
        SecretMessage(prefix: [0, 0, 0, 1], secret: shared, suffix: Array(label.utf8) + [0] + partyU + partyV)
    }
}
