import CryptoDigests
import CryptoPrimitives
import Foundation
import Launch
import Platform
import Proof
import RuntimeControl
import TestSupport
import Testing

/// Programs of others that take a TPM for one that was bought: what they expect of it is there, and is there again after a
/// restart.
///
/// `Tests/counterparts` installs them, and names the folder with Keylime's programs.
@Suite(
    .serialized,
    .enabled(
        if: ProcessInfo.processInfo.environment["CONTAINER_VTPM_COUNTERPARTS"] != nil,
        "Tests/counterparts installs what they need"
    )
)
struct CounterpartTests {
    private static let keylime = ProcessInfo.processInfo.environment["CONTAINER_VTPM_COUNTERPARTS"] ?? ""
    private static let fixtures = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
        .appendingPathComponent("../Fixtures/counterparts").standardizedFileURL.path

    /// Runs a command with a TPM, and another one after the container's restart; returns what both have printed.
    private func run(_ first: String, andAfterARestart second: String) throws -> (String, String) {
        let temporary = try TemporaryDirectory()
        let before = try EndorsementTests.start(in: temporary)
        let printed = try before.run(first)
        #expect(try before.stop() == .exited(0))
        let after = try EndorsementTests.start(in: temporary)
        let again = try after.run(second)
        #expect(try after.stop() == .exited(0))
        return (printed, again)
    }

    /// Writes rsa.der, ecc.der and ca.pem, and rsa.pem, ecc.pem.
    private static let certificates = """
        set -e
        tpm2_getekcertificate -o rsa.der -o ecc.der 2>/dev/null
        tpm2_nvread 0x01c00100 2>/dev/null | openssl x509 -inform der -out ca.pem
        openssl x509 -in ca.pem -outform der -out ca.der
        """

    @Test func goVerifiesTheCertificates() throws {
        let tpm = try EndorsementTests.start(in: TemporaryDirectory())
        let printed = try tpm.run(
            Self.certificates
                + "\nHOME=$PWD GOFLAGS=-mod=mod go run '\(Self.fixtures)/verify.go' ca.der rsa.der ecc.der"
        )
        let lines = printed.split(separator: "\n").map { $0.split(separator: " ") }
        #expect(lines.count == 2 && lines.allSatisfy { $0.count == 2 && $0[0] == "urn:uuid:" + $0[1] }, "\(printed)")
        #expect(try tpm.stop() == .exited(0))
    }

    /// What a certificate says otherwise than swtpm's for the same key is what docs/decisions.md gives the reasons of.
    @Test func theCertificateDiffersFromSwtpmsAsTheDocumentsSay() throws {
        let tpm = try EndorsementTests.start(in: TemporaryDirectory())
        let fields = "'\(Self.keylime)/python3' '\(Self.fixtures)/certificate-fields'"
        try tpm.run(
            """
            \(Self.certificates)
            mkdir swtpm
            for file in signingkey:key.pem issuercert:issuer.pem certserial:serial; do
                echo "${file%:*}=$PWD/swtpm/${file#*:}"
            done >swtpm/conf
            echo "statedir=$PWD/swtpm" >>swtpm/conf
            : >swtpm/options
            swtpm_localca --type ek --ek "$(openssl x509 -inform der -in rsa.der -noout -modulus | sed 's/Modulus=//')" \\
                --dir swtpm --vmid vm --tpm2 --tpm-spec-family 2.0 --tpm-spec-level 0 --tpm-spec-revision 164 \\
                --tpm-manufacturer id:00001014 --tpm-model swtpm --tpm-version id:20191023 \\
                --configfile swtpm/conf --optsfile swtpm/options
            \(fields) rsa.der ca.der >ours
            \(fields) swtpm/ek.cert swtpm/issuer.pem >theirs
            """
        )
        func read(_ name: String) throws -> [Substring: Substring] {
            let lines = String(decoding: try tpm.temporary.read(name), as: UTF8.self).split(separator: "\n")
            return Dictionary(uniqueKeysWithValues: lines.map { ($0.prefix { $0 != "\t" }, $0.drop { $0 != "\t" }) })
        }
        let ours = try read("ours"), theirs = try read("theirs")
        #expect(ours.count == 16 && Set(ours.keys) == Set(theirs.keys))
        let differing = Set(ours.keys.filter { ours[$0] != theirs[$0] }.map(String.init))
        let decisions = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
            .appendingPathComponent("../../../docs/decisions.md").standardizedFileURL
        let text = try String(contentsOf: decisions, encoding: .utf8)
        let table = try #require(text.components(separatedBy: "**The certificate differs from swtpm_localca's**").last)
        let rows = table.split(separator: "\n").drop { !$0.hasPrefix("|") }.prefix { $0.hasPrefix("|") }.dropFirst(2)
        let documented = Set(rows.map { $0.split(separator: "|")[0].trimmingCharacters(in: .whitespaces) })
        #expect(differing == documented)
        #expect(try tpm.stop() == .exited(0))
    }

    @Test(arguments: ["rsa", "ecc"]) func keylimeVerifiesTheCertificate(name: String) throws {
        let tpm = try EndorsementTests.start(in: TemporaryDirectory())
        let verify =
            "from keylime import cert_utils; print(cert_utils.verify_ek(open('\(name).der', 'rb').read(), 'store'))"
        let command = "'\(Self.keylime)/python3' -c \"\(verify)\" 2>/dev/null"
        #expect(try tpm.run(Self.certificates + "\nmkdir store\n" + command) == "False\n")
        #expect(try tpm.run("cp ca.pem store/\n" + command) == "True\n")
        #expect(try tpm.stop() == .exited(0))
    }

    @Test func aKeylimeRegistrarRegistersAndActivatesTheTPM() throws {
        let tpm = try EndorsementTests.start(in: TemporaryDirectory())
        let prepare = """
            \(Self.certificates)
            mv rsa.der ek.der
            tpm2_readpublic -Q -c 0x81010001 -o ek.tpm2b
            tpm2_createak -Q -C 0x81010001 -c ak.ctx -G rsa -g sha256 -s rsassa -u ak.tpm2b
            tpm2_flushcontext -Q -t
            """
        let agent = "'\(Self.fixtures)/keylime-agent' '\(Self.keylime)'"
        let answer = try tpm.run("\(prepare)\n\(agent)")
        #expect(answer == "Success\n")
        // The key of another TPM is not that of the certificate.
        let other = try EndorsementTests.start(in: TemporaryDirectory())
        try other.run(prepare)
        let refused = try other.run("cp '\(tpm.temporary.path)/ek.der' '\(tpm.temporary.path)/ca.pem' .\n\(agent)")
        #expect(refused.hasPrefix("400 "), "\(refused)")
        for tpm in [tpm, other] { #expect(try tpm.stop() == .exited(0)) }
    }

    /// Of the launch it is told as a policy: which value PCR 17 has to have.
    @Test func aKeylimeVerifierAcceptsTheLaunchAndNoOther() throws {
        let temporary = try TemporaryDirectory()
        let event = try LaunchStatement(text: Array(#"{"process":{"args":["sh"]}}"#.utf8)).event()
        let tpm = try VTPMUnderTest(in: temporary, measuring: event)
        try tpm.create()
        try tpm.run(
            """
            set -e
            tpm2_createek -Q -c ek.ctx -G rsa -u ek.tpm2b
            tpm2_createak -Q -C ek.ctx -c ak.ctx -G rsa -g sha256 -s rsassa -u ak.tpm2b
            tpm2_flushcontext -Q -t
            tpm2_quote -Q -c ak.ctx -l sha256:8,11,17,18 -q 616263 -m quote.msg -s quote.sig -o quote.pcrs -g sha256
            """
        )
        func verdict(_ event: [UInt8], nonce: String = "abc") throws -> String {
            let value = Hexadecimal.encode(try LaunchLog.value(after: event, .sha256))
            // The mask names PCRs 8, 11, 17 and 18.
            let policy = #"{"17":["\#(value)"],"mask":"0x60900"}"#
            return try tpm.run("'\(Self.fixtures)/keylime-evidence' '\(Self.keylime)' \(nonce) '\(policy)'")
        }
        #expect(try verdict(event) == "True\n")
        let other = try LaunchStatement(text: Array(#"{"process":{"args":["bash"]}}"#.utf8)).event()
        #expect(try verdict(other).hasPrefix("False pcr_validation.invalid_pcr_17"))
        // Keylime's own spelling of the first word is another.
        let refused = try verdict(event, nonce: "abd")
        #expect(refused.hasPrefix("False ") && refused.hasSuffix("_validation.quote_validation\n"), "\(refused)")
        #expect(try tpm.stop() == .exited(0))
    }

    /// Both quotes of a proof, each with what it is bound to as the nonce.
    @Test func aKeylimeVerifierAcceptsTheQuotesOfAProof() throws {
        let temporary = try TemporaryDirectory()
        let host = try ProofUnderTest(in: temporary)
        try host.bundle().files().write(to: "\(temporary.path)/bundle")
        func verdict(
            _ part: String,
            bound extraData: [UInt8],
            pcr: Int,
            _ value: [UInt8],
            mask: String
        ) throws -> String {
            let policy = #"{"\#(pcr)":["\#(hex(value))"],"mask":"\#(mask)"}"#
            return try host.tpm.run(
                """
                for file in msg sig pcrs; do cp bundle/\(part).$file quote.$file; done
                for file in ek ak; do cp bundle/\(part).pub $file.tpm2b; done
                '\(Self.fixtures)/keylime-evidence' '\(Self.keylime)' '\(Data(extraData).base64EncodedString())' '\(policy)'
                """
            )
        }
        let bundle = try ProofBundle(reading: "\(temporary.path)/bundle")
        let bound = try ProofBinding.guest(nonce: ProofUnderTest.nonce, peer: ProofUnderTest.nobody)
        let (launch, zero) = (host.manifest.launch.pcr17, [UInt8](repeating: 0, count: 32))
        #expect(try verdict("guest", bound: bound, pcr: 17, launch, mask: "0x60900") == "True\n")
        let other = try verdict("guest", bound: bound, pcr: 17, zero, mask: "0x60900")
        #expect(other.hasPrefix("False pcr_validation.invalid_pcr_17"), "\(other)")
        let root = try MerkleTree.root(of: [bundle.hostLeaf()])
        #expect(try verdict("host", bound: root, pcr: 7, zero, mask: "0xffff") == "True\n")
        let booted = try verdict("host", bound: root, pcr: 7, launch, mask: "0xffff")
        #expect(booted.hasPrefix("False pcr_validation.invalid_pcr_7"), "\(booted)")
        let stale = try verdict("host", bound: bound, pcr: 7, zero, mask: "0xffff")
        #expect(stale.hasPrefix("False ") && stale.hasSuffix("_validation.quote_validation\n"), "\(stale)")
    }

    @Test func azuresProvisioningAndItsTokensWork() throws {
        let device = "'\(Self.fixtures)/azure-device'"
        let (enrolled, signed) = try run("\(device) enrol", andAfterARestart: "\(device) sign")
        #expect(enrolled.count == 65 && enrolled == signed)
    }

    @Test func openSSLsProviderSignsWithItsKeyAgain() throws {
        let sign = """
            set -e
            export TPM2OPENSSL_TCTI="$TPM2TOOLS_TCTI"
            printf text >text
            openssl pkeyutl -provider tpm2 -provider default -propquery ?provider=tpm2 -sign -rawin -digest sha256 \
                -inkey key.pem -in text -out signature
            openssl pkeyutl -verify -rawin -digest sha256 -pubin -inkey public.pem -in text -sigfile signature
            """
        let make = """
            set -e
            export TPM2OPENSSL_TCTI="$TPM2TOOLS_TCTI"
            openssl genpkey -provider tpm2 -algorithm EC -pkeyopt group:P-256 -pkeyopt parent:0x81000001 -out key.pem 2>&1
            openssl pkey -provider tpm2 -provider default -in key.pem -pubout -out public.pem
            """
        let (first, second) = try run("\(make)\n\(sign)", andAfterARestart: sign)
        #expect(first.hasSuffix("Signature Verified Successfully\n") && second == "Signature Verified Successfully\n")
    }

    @Test func clevisOpensWhatItHasSealed() throws {
        let (sealed, opened) = try run(
            "printf secret | clevis encrypt tpm2 '{\"pcr_ids\":\"7\"}' >sealed && wc -c <sealed",
            andAfterARestart: "clevis decrypt <sealed"
        )
        #expect(Int(sealed.filter { !$0.isWhitespace }) ?? 0 > 500 && opened == "secret")
    }
}
