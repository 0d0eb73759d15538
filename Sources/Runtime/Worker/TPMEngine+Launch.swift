import CLibCrypto
import CLibTPMS
import Platform
import VTPMProxy

// What runs, and which instance of it, in PCRs that no tenant can change.
extension TPMEngine {
    /// Measures the event about what runs by a dynamic launch, and extends the other PCRs at a locality that no tenant has.
    ///
    /// A dynamic launch is the one way to set PCRs 17 to 22 to 0, and so the one after which a log can be replayed. It
    /// digests the event into PCR 17 of each bank. TPM 2.0 Library, Part 1, 34.2, and Part 3, 22.9 to 22.11
    func measure(_ launch: SecretBytes, _ instance: [UInt8]) throws(Failure) {
        try begin(launch)
        Self.locality = LaunchPCR.hostLocality
        defer { Self.locality = 0 }
        let digests = try launch.withBytes { (bytes) throws(Failure) in
            try Self.digests(of: bytes.baseAddress, bytes.count)
        }
        let instanceDigests = try Self.digests(of: instance, instance.count)
        for (pcr, digests) in [
            (LaunchPCR.launchCopy, digests), (LaunchPCR.instance, instanceDigests),
            (LaunchPCR.instanceCopy, instanceDigests),
        ] {
            try expectSuccess("TPM2_PCR_Extend", TPMCommand.extend(pcr, by: digests))
        }
    }

    private func begin(_ launch: SecretBytes) throws(Failure) {
        try check("_TPM_Hash_Start", TPM_IO_Hash_Start())
        let result = launch.withBytes { bytes in
            TPM_IO_Hash_Data(bytes.bindMemory(to: UInt8.self).baseAddress, UInt32(bytes.count))
        }
        try check("_TPM_Hash_Data", result)
        try check("_TPM_Hash_End", TPM_IO_Hash_End())
        try requireStored("_TPM_Hash_End")
    }

    /// The digests of an event, in the order of ``PCRBanks/named``.
    private static func digests(of event: UnsafeRawPointer?, _ count: Int) throws(Failure) -> [[UInt8]] {
        var digests: [[UInt8]] = []
        for algorithm in [EVP_sha1(), EVP_sha256(), EVP_sha384(), EVP_sha512()] {
            var digest = [UInt8](repeating: 0, count: Int(EVP_MAX_MD_SIZE))
            var size: CUnsignedInt = 0
            guard EVP_Digest(event, count, &digest, &size, algorithm, nil) == 1 else {
                throw Failure("cannot measure the launch", because: "libcrypto cannot compute a digest")
            }
            digests.append(Array(digest.prefix(Int(size))))
        }
        return digests
    }
}
