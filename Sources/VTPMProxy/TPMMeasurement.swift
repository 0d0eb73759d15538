import Platform

// The commands by which a launch is measured. TPM 2.0 Library, Part 3
extension TPMCommand {
    /// Returns the TPM2_PCR_Extend of a PCR in all of its banks. Part 3, 22.2
    ///
    /// The digests come in the order of ``PCRBanks/named``. A bank that the TPM does not have is passed over.
    public static func extend(_ pcr: UInt32, by digests: [[UInt8]]) -> [UInt8] {
        var parameters = ByteWriter()
        parameters.write(UInt32(digests.count))
        for ((_, _, algorithm), digest) in zip(PCRBanks.named, digests) {
            parameters.write(algorithm)
            parameters.write(digest)
        }
        return command(0x182, handles: [pcr], parameters: parameters.bytes)
    }
}

/// The PCRs that a launch is measured into. TCG PC Client Platform TPM Profile, 4.6
public enum LaunchPCR {
    /// What runs: the same for each instance of an image and its configuration.
    ///
    /// No tenant can extend or reset it.
    public static let launch: UInt32 = 17
    /// Which instance and which run.
    ///
    /// No tenant can extend or reset it.
    public static let instance: UInt32 = 18
    /// A copy of ``launch``, for verifiers that look there; a tenant can append.
    public static let launchCopy: UInt32 = 11
    /// A copy of ``instance``, for verifiers that look there; a tenant can append.
    public static let instanceCopy: UInt32 = 8

    /// The locality of the host, at which PCR 18 can be extended; a tenant's commands have locality 0.
    public static let hostLocality: UInt8 = 3
}
