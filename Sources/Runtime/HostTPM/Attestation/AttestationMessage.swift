import Platform
import RuntimePCR

/// What a TPM has signed of its PCRs or of an NV index: TPMS_ATTEST. TPM 2.0 Library, Part 2, 10.12
package struct AttestationMessage: Equatable, Sendable {
    /// What it says.
    package enum Content: Equatable, Sendable {
        /// The PCRs that were selected, and the digest of their values. TPMS_QUOTE_INFO
        case quote(PCRSelection, digest: [UInt8])
        /// The name of an NV index, where its contents were read from, and the contents. TPMS_NV_CERTIFY_INFO
        case nv(name: [UInt8], offset: UInt16, contents: [UInt8])
    }

    /// The qualified name of the key that has signed it.
    package let qualifiedSigner: [UInt8]
    /// What the caller wanted to have in it.
    package let extraData: [UInt8]
    /// How often the TPM was reset.
    package let resetCount: UInt32
    /// How often it was resumed.
    package let restartCount: UInt32
    /// What it says.
    package let content: Content

    private static let generated: UInt32 = 0xff54_4347
    private static let (nv, quote): (UInt16, UInt16) = (0x8014, 0x8018)

    /// Parses it; returns nil if it is malformed, says something else, or was not made inside of a TPM.
    package init?(decoding bytes: [UInt8]) {
        var reader = ByteReader(bytes)
        guard reader.read(UInt32.self) == Self.generated, let kind = reader.read(UInt16.self),
            let signer = reader.readSized(), let extraData = reader.readSized(),
            // The clock, the counts, whether the clock is safe, the firmware's version.
            reader.read(UInt64.self) != nil, let resets = reader.read(UInt32.self),
            let restarts = reader.read(UInt32.self), reader.read(UInt8.self) != nil, reader.read(UInt64.self) != nil
        else { return nil }
        switch kind {
        case Self.quote:
            guard let bank = PCRSelection.readBank(&reader), let digest = reader.readSized() else { return nil }
            content = .quote(PCRSelection(banks: [bank]), digest: digest)
        case Self.nv:
            guard let name = reader.readSized(), let offset = reader.read(UInt16.self), let data = reader.readSized()
            else { return nil }
            content = .nv(name: name, offset: offset, contents: data)
        default: return nil
        }
        guard reader.remaining == 0 else { return nil }
        qualifiedSigner = signer
        self.extraData = extraData
        resetCount = resets
        restartCount = restarts
    }
}
