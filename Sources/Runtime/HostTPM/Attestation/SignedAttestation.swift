import CryptoDigests
import CryptoEndorsement
import Platform
import RuntimePCR

/// What a TPM says, and the signature: the two files that `tpm2_quote -m -s` writes.
package struct SignedAttestation: Equatable, Sendable {
    /// TPMS_ATTEST.
    package let message: [UInt8]
    /// TPMT_SIGNATURE. TPM 2.0 Library, Part 2, 11.3.4
    package let signature: [UInt8]

    /// Takes over both.
    package init(message: [UInt8], signature: [UInt8]) {
        self.message = message
        self.signature = signature
    }

    /// Returns what it says; nil if it is malformed, or was not signed by this key with its own scheme and SHA-256.
    package func content(signedBy key: QuotingKey) -> AttestationMessage? {
        isSigned(by: key) ? AttestationMessage(decoding: message) : nil
    }

    private func isSigned(by key: QuotingKey) -> Bool {
        var reader = ByteReader(signature)
        let scheme = key.kind == .p256 ? Algorithm.ecdsa : Algorithm.rsassa
        guard reader.read(UInt16.self) == scheme, reader.read(UInt16.self) == Algorithm.sha256,
            let first = reader.readSized()
        else { return false }
        switch key.kind {
        case .p256:
            guard let second = reader.readSized(), reader.remaining == 0 else { return false }
            return TPMSignature.isECDSA(first, second, of: message, by: key.publicKey, with: .sha256)
        case .rsa2048:
            return reader.remaining == 0
                && TPMSignature.isRSASSA(first, of: message, by: key.publicKey, with: .sha256)
        }
    }

    /// Reads the parameters of a response that has both; returns nil if they are malformed.
    init?(_ response: Response) {
        var parameters = response.parameters
        guard let message = parameters.readSized(), let signature = parameters.read(count: parameters.remaining),
            !signature.isEmpty
        else { return nil }
        self.init(message: message, signature: signature)
    }
}

/// A quote, and the values of its PCRs.
package struct PCRQuote: Equatable, Sendable {
    /// What the TPM says of them.
    package let attestation: SignedAttestation
    /// The PCRs.
    package let selection: PCRSelection
    /// Their values, in the order of the selection.
    package let values: [[UInt8]]

    /// Puts a quote together.
    package init(_ attestation: SignedAttestation, _ selection: PCRSelection, values: [[UInt8]]) {
        self.attestation = attestation
        self.selection = selection
        self.values = values
    }
}
