import CryptoDigests
import Platform

/// What the quotes of a proof are bound to, besides PCRs.
///
/// Each has a label of its own, so that neither can be shown for the other, and no caller ever has its own bytes signed.
public enum ProofBinding {
    /// The sizes that a verifier's nonce may have, in bytes.
    public static let nonceSizes = 8...64
    /// The size of the digest of a peer's key, in bytes: SHA-256.
    public static let peerSize = 32

    private static let (guestLabel, hostLabel) = ("cvtpm guest 1", "cvtpm host 1")

    /// Returns what the container's TPM has in its quote: `SHA-256(label ‖ size of the nonce in 8 bits ‖ nonce ‖ peer)`.
    ///
    /// `peer` is the SHA-256 of the key of whom the proof is for, such as the TLS key of a connection, or zeros: whoever passes the
    /// proof on as his own has another key.
    public static func guest(nonce: [UInt8], peer: [UInt8]) throws(Failure) -> [UInt8] {
        try DigestAlgorithm.sha256.digest(head(guestLabel, nonce) + peer)
    }

    /// Returns what the host signs of one proof: `label ‖ size of the nonce in 8 bits ‖ nonce ‖ SHA-256(quote ‖ signature) ‖
    /// SHA-256(manifest)`.
    ///
    /// It is a leaf of a ``MerkleTree``, whose root is in the host's quote.
    public static func hostLeaf(
        nonce: [UInt8],
        guestQuote message: [UInt8],
        signature: [UInt8],
        manifest: [UInt8]
    ) throws(Failure) -> [UInt8] {
        try head(hostLabel, nonce) + DigestAlgorithm.sha256.digest(message + signature)
            + DigestAlgorithm.sha256.digest(manifest)
    }

    private static func head(_ label: String, _ nonce: [UInt8]) -> [UInt8] {
        Array(label.utf8) + [UInt8(clamping: nonce.count)] + nonce
    }
}
