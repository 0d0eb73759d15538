import Crypto
import Platform
import RuntimeAdministration
import RuntimeControl
import RuntimeEndorsement
import TestSupport
import Testing
import VTPMProxy

/// The key by which a TPM will quote for proofs.
@Suite(.serialized) struct QuotingKeyTests {
    private func record(in temporary: TemporaryDirectory) throws -> EndorsementRecord {
        try #require(try EndorsementTests.repository(in: temporary).endorsement(of: "web"))
    }

    /// The host knows the key by which the TPM will quote, before the tenant can say anything of it.
    @Test(arguments: [EndorsementLevel.keys, .certificates]) func theQuotingKeyIsRecorded(
        level: EndorsementLevel
    ) throws {
        let temporary = try TemporaryDirectory()
        let tpm = try EndorsementTests.start(in: temporary, EndorsementTests.all, level)
        let recorded = try record(in: temporary).quotingKey
        // An algorithm, and the digest of the public area.
        let name = try "000b" + Hexadecimal.encode(SHA256.digest(recorded))
        #expect(try recorded.count == 88 && Self.name(in: tpm) == name)
        // Nothing of it is left.
        #expect(try tpm.run("tpm2_getcap handles-transient").isEmpty)
        // It quotes, and tpm2-tools accept what it says.
        let verdict = try tpm.run(
            """
            set -e
            tpm2_quote -Q -c quoting.ctx -l sha256:8,11 -q 0123 -g sha256 -m message -s signature -o pcrs
            tpm2_flushcontext -t
            tpm2_checkquote -Q -u quoting.pem -m message -s signature -f pcrs -q 0123 -g sha256 && echo accepted
            """
        )
        #expect(verdict == "accepted\n")
        // TPM2_Clear leaves it.
        _ = try tpm.run("tpm2_clear -Q -c l")
        #expect(try tpm.stop() == .exited(0))
        let next = try EndorsementTests.start(in: temporary, EndorsementTests.all, level)
        #expect(try record(in: temporary).quotingKey == recorded)
        #expect(try Self.name(in: next) == name)
        #expect(try next.stop() == .exited(0))
    }

    /// The name of the key as tpm2_createprimary makes it from a plain template.
    private static func name(in tpm: VTPMUnderTest) throws -> String {
        let attributes = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda|restricted|sign"
        return try tpm.run(
            """
            set -e
            tpm2_createprimary -Q -C e -g sha256 -G ecc256:ecdsa-sha256:null -a '\(attributes)' -c quoting.ctx
            tpm2_readpublic -c quoting.ctx -n quoting.name -f pem -o quoting.pem >/dev/null
            tpm2_flushcontext -t
            od -An -v -tx1 quoting.name | tr -d ' \\n'
            """
        )
    }
}
