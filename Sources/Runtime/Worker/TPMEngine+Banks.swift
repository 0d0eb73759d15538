import CLibTPMS
import Platform
import VTPMProxy

// The banks of PCRs.
extension TPMEngine {
    /// Gives a TPM that was just manufactured and started up these banks of PCRs and no others.
    ///
    /// They are there after the next _TPM_Init, so the TPM is shut down and started up once more. TPM2_PCR_Allocate, Part 3, 22.5
    func allocate(_ banks: PCRBanks) throws(Failure) {
        let isDone = execute(TPMCommand.allocate(banks)) { TPMCommand.hasAllocated($0) }
        try requireStored("TPM2_PCR_Allocate")
        guard isDone else { throw Failure("cannot execute TPM2_PCR_Allocate", because: "the TPM refuses the banks") }
        try expectSuccess("TPM2_Shutdown", TPMCommand.shutdownClear)
        TPMLIB_Terminate()
        try check("starting it once more", TPMLIB_MainInit())
        try expectSuccess("TPM2_Startup", TPMCommand.startupClear)
    }
}
