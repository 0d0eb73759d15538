import Platform

extension QuotingKey {
    /// The key as a file of tpm2-tools: a TPM2B_PUBLIC. TPM 2.0 Library, Part 2, 12.2.5
    package var publicFile: [UInt8] { sized(area) }

    /// Reads such a file; returns nil if it has another key.
    package init?(publicFile: [UInt8]) {
        var reader = ByteReader(publicFile)
        guard let area = reader.readSized(), reader.remaining == 0 else { return nil }
        self.init(decoding: area)
    }
}

extension IdentityKey {
    /// The key as a file of tpm2-tools: a TPM2B_PUBLIC.
    package var publicFile: [UInt8] { sized(area) }
}

private func sized(_ area: [UInt8]) -> [UInt8] {
    var writer = ByteWriter()
    writer.write(sized: area)
    return writer.bytes
}
