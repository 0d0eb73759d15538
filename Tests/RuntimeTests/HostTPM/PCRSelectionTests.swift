import Platform
import Testing

@testable import RuntimeHostTPM
@testable import RuntimePCR

@Suite struct PCRSelectionTests {
    @Test func theStandardIsWhatItSays() throws {
        #expect(PCRSelection.standard.description == "sha256:0-4,6-14")
        #expect(try PCRSelection(parsing: "sha256:0-4,6-14") == .standard)
        #expect(PCRSelection.standard.encoded == [0, 0, 0, 1, 0, 0x0b, 3, 0xdf, 0x7f, 0])
    }

    @Test(arguments: [
        ("sha1:0", "sha1:0"), ("sha256:23", "sha256:23"), ("sha384:0-23", "sha384:0-23"),
        ("sha256:3,1,2", "sha256:1-3"),
        ("sha512:7,0-1+sha1:16,9", "sha512:0-1,7+sha1:9,16"),
    ])
    func isParsedAndWritten(text: String, written: String) throws {
        let selection = try PCRSelection(parsing: text)
        #expect(selection.description == written)
        #expect(try PCRSelection(parsing: written) == selection)
    }

    @Test(arguments: [
        ("", "\"\" is not a bank, a colon and PCRs"), ("sha256", "\"sha256\" is not a bank, a colon and PCRs"),
        ("sha256:0:1", "\"sha256:0:1\" is not a bank, a colon and PCRs"),
        ("sha256:0+", "\"\" is not a bank, a colon and PCRs"),
        ("md5:0", "\"md5\" is not one of sha1, sha256, sha384, sha512"),
        ("SHA256:0", "\"SHA256\" is not one of sha1, sha256, sha384, sha512"),
        ("sha256:0+sha256:1", "sha256 is named twice"), ("sha256:1-3,2", "PCR 2 is named twice"),
        ("sha256:", "\"\" is not a PCR"), ("sha256:0,", "\"\" is not a PCR"), ("sha256:24", "\"24\" is not a PCR"),
        ("sha256:4-3", "\"4-3\" is not a PCR"), ("sha256:1-", "\"1-\" is not a PCR"),
        ("sha256:-1", "\"-1\" is not a PCR"), ("sha256:1-2-3", "\"1-2-3\" is not a PCR"),
        ("sha256: 1", "\" 1\" is not a PCR"), ("sha256:+1", "\"\" is not a PCR"), ("sha256:01", "\"01\" is not a PCR"),
        ("sha256:٣", "\"٣\" is not a PCR"), ("sha256:99999999999999999999", "\"99999999999999999999\" is not a PCR"),
    ])
    func anotherTextIsRefused(text: String, why: String) {
        let error = #expect(throws: Failure.self) { try PCRSelection(parsing: text) }
        #expect(error?.why.hasPrefix(why) == true, "\(error?.why ?? "")")
        #expect(error?.hint == "write it like sha256:0-4,6-14")
    }
}

@Suite struct ResponseCodeTests {
    @Test(
        arguments: [
            (0x100, "TPM_RC_INITIALIZE (0x100)"), (0x101, "TPM_RC_FAILURE (0x101)"), (0x921, "TPM_RC_LOCKOUT (0x921)"),
            (0x14b, "TPM_RC_NV_SPACE (0x14b)"), (0x98e, "TPM_RC_AUTH_FAIL (0x98e)"),
            (0x99d, "TPM_RC_POLICY_FAIL (0x99d)"),
            (0x18b, "TPM_RC_HANDLE (0x18b)"), (0x2d5, "TPM_RC_SIZE (0x2d5)"), (0x1e, "TPM_RC_BAD_TAG (0x1e)"),
            // From the kernel's resource manager.
            (0xb0143, "TPM_RC_COMMAND_CODE (0xb0143)"), (0x9ff, "TPM_RC 0x9ff"), (0xffff_ffff, "TPM_RC 0xffffffff"),
        ] as [(UInt32, String)]
    )
    func isReadable(code: UInt32, text: String) {
        #expect(ResponseCode(code).description == text)
    }
}
