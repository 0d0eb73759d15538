/// TPM2_GetRandom of 8 bytes.
let getRandom: [UInt8] = [0x80, 0x01, 0, 0, 0, 12, 0, 0, 0x01, 0x7b, 0, 8]
/// TPM2_PCR_Extend of PCR 7 (sha256), with a digest of ones.
let extendPCR7: [UInt8] =
    [0x80, 0x02, 0, 0, 0, 65, 0, 0, 0x01, 0x82, 0, 0, 0, 7, 0, 0, 0, 9, 0x40, 0, 0, 9, 0, 0, 0, 0, 0]
    + [0, 0, 0, 1, 0, 0x0b] + [UInt8](repeating: 1, count: 32)
/// TPM_RC_FAILURE.
let failureResponse: [UInt8] = [0x80, 0x01, 0, 0, 0, 10, 0, 0, 0x01, 0x01]
