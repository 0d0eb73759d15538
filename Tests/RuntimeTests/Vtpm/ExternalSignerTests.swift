import AuthorityClient
import Configuration
import Foundation
import Glibc
import Platform
import RuntimeAdministration
import RuntimeControl
import RuntimeEndorsement
import RuntimeState
import TestSupport
import Testing
import VTPMProxy

/// A certificate authority whose key is with a program of the operator's: `hooks/signer/openssl-signer`, and others that misbehave.
@Suite(.serialized) struct ExternalSignerTests {
    private let temporary: TemporaryDirectory

    init() throws { temporary = try TemporaryDirectory() }

    private static let byHand = "try it by hand: docs/operations.md"
    private static let signer = URL(fileURLWithPath: "\(#filePath)")
        .appendingPathComponent("../../../../hooks/signer/openssl-signer").standardizedFileURL.path

    @discardableResult
    private func shell(_ command: String) throws -> String {
        let script = "cd '\(temporary.path)' && umask 022 && set -e && { \(command); } >log 2>&1"
        let status = try ProgramLaunch("/bin/bash", ["bash", "-c", script]).start().wait()
        let log = String(decoding: try temporary.read("log"), as: UTF8.self)
        try #require(status == .exited(0), "\(command): \(log)")
        return log
    }

    private func makeAuthority() throws {
        try shell(
            """
            openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-384 -out ca.key
            openssl req -x509 -key ca.key -out ca.pem -days 36500 -subj /CN=operator \
                -addext basicConstraints=critical,CA:TRUE,pathlen:0 -addext keyUsage=critical,keyCertSign
            """
        )
    }

    private func start(_ command: [String], timeout: Int = 20) throws -> VTPMUnderTest {
        let tpm = try VTPMUnderTest(in: temporary, tpmKeys: EndorsementTests.all, endorsement: .certificates)
        tpm.authorityFiles = .init(
            key: .command(command, timeout: timeout),
            certificates: "\(temporary.path)/ca.pem"
        )
        return tpm
    }

    /// Writes a program that stands in for a signer.
    private func program(_ text: String) throws -> [String] {
        let path = "\(temporary.path)/signer"
        try temporary.write("signer", Array("#!/bin/bash\ncd '\(temporary.path)'\n\(text)\n".utf8))
        chmod(path, 0o755)
        return [path]
    }

    private var openssl: [String] { [Self.signer, "\(temporary.path)/ca.pem", "-CAkey", "\(temporary.path)/ca.key"] }

    /// Where a signer has its key.
    enum Place: String, CaseIterable {
        case file
        /// A PKCS #11 token, for which SoftHSM stands in.
        case token
        /// A TPM, for which swtpm stands in, without a resource manager: the key is one below its storage root key.
        case tpm
    }

    /// The command that signs with a key at this place, which is made, as is the authority's certificate.
    private func command(_ place: Place) throws -> [String] {
        let certify =
            "-out ca.pem -days 36500 -subj /CN=operator "
            + "-addext basicConstraints=critical,CA:TRUE,pathlen:0 -addext keyUsage=critical,keyCertSign"
        let signer = [Self.signer, "\(temporary.path)/ca.pem"]
        switch place {
        case .file:
            try makeAuthority()
            return openssl
        case .token:
            let uri = "pkcs11:token=ca;object=ca;type=private?pin-value=1234"
            let module = try shell("ls /usr/lib/*/softhsm/libsofthsm2.so").trimmingCharacters(
                in: .whitespacesAndNewlines
            )
            let variables = ["SOFTHSM2_CONF=\(temporary.path)/softhsm.conf", "PKCS11_MODULE_PATH=\(module)"]
            try shell(
                """
                mkdir tokens && echo 'directories.tokendir = \(temporary.path)/tokens' >softhsm.conf
                export \(variables.joined(separator: " "))
                softhsm2-util --init-token --free --label ca --pin 1234 --so-pin 5678
                pkcs11-tool --module '\(module)' --login --pin 1234 --keypairgen --key-type EC:secp384r1 --label ca --id 01
                openssl req -x509 -engine pkcs11 -keyform engine -key '\(uri)' \(certify)
                """
            )
            return ["/usr/bin/env"] + variables + signer + ["-engine", "pkcs11", "-CAkeyform", "engine", "-CAkey", uri]
        case .tpm:
            let variable = "TPM2OPENSSL_TCTI=swtpm:path=\(temporary.path)/host.sock"
            let provider = ["-provider", "tpm2", "-provider", "default", "-propquery", "?provider=tpm2"]
            try shell(
                """
                mkdir host
                swtpm socket --tpm2 --tpmstate dir='\(temporary.path)/host' --flags not-need-init,startup-clear --daemon \
                    --server type=unixio,path='\(temporary.path)/host.sock' \
                    --ctrl type=unixio,path='\(temporary.path)/host.sock.ctrl' --pid file='\(temporary.path)/host.pid'
                export TPM2TOOLS_TCTI='swtpm:path=\(temporary.path)/host.sock' '\(variable)'
                tpm2_createprimary -Q -C o -c srk.ctx && tpm2_evictcontrol -Q -c srk.ctx 0x81000001 && tpm2_flushcontext -t
                openssl genpkey \(provider.joined(separator: " ")) -algorithm EC -pkeyopt group:P-256 \
                    -pkeyopt parent:0x81000001 -out ca.tss && tpm2_flushcontext -t
                openssl req -x509 \(provider.joined(separator: " ")) -key ca.tss \(certify)
                tpm2_flushcontext -t && grep -qF 'TSS2 PRIVATE KEY' ca.tss
                """
            )
            return ["/usr/bin/env", variable] + signer + provider + ["-CAkey", "\(temporary.path)/ca.tss"]
        }
    }

    @Test(arguments: Place.allCases) func itCertifiesTPMs(place: Place) throws {
        defer { if place == .tpm { _ = try? shell("kill $(cat host.pid)") } }
        let tpm = try start(command(place))
        try tpm.create()
        let verdict = try tpm.run(
            """
            set -e
            tpm2_getekcertificate -o rsa.der -o ecc.der 2>/dev/null
            for name in rsa ecc; do openssl x509 -inform der -in $name.der -out $name.pem; done
            openssl verify -x509_strict -CAfile ca.pem rsa.pem ecc.pem
            """
        )
        #expect(verdict == "rsa.pem: OK\necc.pem: OK\n")
        let record = try #require(try EndorsementTests.repository(in: temporary).endorsement(of: "web"))
        #expect(record.level == .certificates && record.keys.allSatisfy { !$0.certificate.isEmpty })
        // The host has made no key of its own, and the program is gone.
        #expect(!temporary.exists("keys/authority.key"))
        #expect(try tpm.stop() == .exited(0))
    }

    /// What a signer answers that is not what was asked for; jq changes the request before openssl signs it.
    @Test(
        arguments: [
            (".publicKey = $key", "of another key"), (#".commonName = "x""#, "of another subject"),
            (#"del(.extensions[] | select(.id == "2.5.29.37"))"#, "whose extension 2.5.29.37 is another"),
            (
                #"(.extensions[] | select(.id == "2.5.29.15")).critical = false"#,
                "whose extension 2.5.29.15 is another"
            ),
            (
                #"(.extensions[] | select(.id == "2.5.29.19")).value = "30030101ff""#,
                "whose extension 2.5.29.19 is another"
            ),
            (
                #".extensions += [{id: "2.5.29.30", critical: false, value: "3000"}]"#,
                "with the extension 2.5.29.30, which nobody asked for"
            ),
            (#".serialNumber = "00""#, "without a positive serial number of at most 20 bytes"),
        ]
    )
    func anotherCertificateIsNotTaken(change: String, reason: String) throws {
        try makeAuthority()
        try shell("openssl pkey -in ca.key -pubout -out other.pem")
        let command = try program(
            """
            read -r request
            jq --compact-output --rawfile key other.pem '\(change)' <<<"$request" | '\(Self.signer)' ca.pem -CAkey ca.key
            """
        )
        let tpm = try start(command)
        let heard = try tpm.hear()
        let text = String(decoding: heard.body, as: UTF8.self)
        #expect(heard.kind == .failure)
        #expect(
            text == "cannot certify the TPM: the signer has answered with a certificate \(reason) (\(Self.byHand))",
            "\(text)"
        )
        #expect(try tpm.reap() == .exited(1))
        #expect(try EndorsementTests.repository(in: temporary).names() == [])
    }

    /// A signer with another key than the authority's certificate has, which is the same but for that.
    @Test func anotherKeySignsNothing() throws {
        try makeAuthority()
        try shell(
            """
            name=$(openssl x509 -in ca.pem -noout -ext subjectKeyIdentifier | tail -n 1 | tr -d ' ')
            openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-384 -out fake.key
            openssl req -x509 -key fake.key -out fake.pem -days 36500 -subj /CN=operator \
                -addext basicConstraints=critical,CA:TRUE,pathlen:0 -addext keyUsage=critical,keyCertSign \
                -addext "subjectKeyIdentifier=$name"
            """
        )
        let tpm = try start([Self.signer, "\(temporary.path)/fake.pem", "-CAkey", "\(temporary.path)/fake.key"])
        let text = String(decoding: try tpm.hear().body, as: UTF8.self)
        #expect(
            text
                == "cannot certify the TPM: the signer has answered with a certificate that is not signed by the authority's key (\(Self.byHand))",
            "\(text)"
        )
        #expect(try tpm.reap() == .exited(1))
    }

    @Test(
        arguments: [
            ("exit 0", "the signer ended without a certificate (\(Self.byHand))"),
            (
                "read -r request; sleep 4321",
                "the signer does not answer in time (raise authority.timeout, or speed it up)"
            ),
            (
                "read -r request; head -c 20000 /dev/zero; sleep 4321",
                "the signer answers with more than 16384 bytes (\(Self.byHand))"
            ),
            (
                "read -r request; echo '-----END CERTIFICATE-----'; sleep 4321",
                "the signer has answered with 0 certificates (\(Self.byHand))"
            ),
        ]
    )
    func aSignerThatFailsIsAnErrorOfTheCreation(text: String, reason: String) throws {
        try makeAuthority()
        // On a busy machine a program that answers at once takes its time.
        let tpm = try start(program(text), timeout: reason.contains("in time") ? 3 : 20)
        let heard = String(decoding: try tpm.hear().body, as: UTF8.self)
        #expect(heard == "cannot certify the TPM: \(reason)", "\(heard)")
        #expect(try tpm.reap() == .exited(1))
        // Nor is anything left of what it has started.
        tpm.endAuthority()
        #expect(try shell("pgrep --full '^sleep 4321' || echo none") == "none\n")
        #expect(try EndorsementTests.repository(in: temporary).names() == [])
    }

    @Test func aProgramThatOthersMayChangeIsNotStarted() throws {
        try makeAuthority()
        let command = try program("touch started")
        chmod(command[0], 0o777)
        let tpm = try start(command)
        let failure = #expect(throws: Failure.self) { _ = try tpm.hear() }
        #expect(
            failure?.description.hasPrefix("cannot start the signer \(command[0]): ") == true,
            "\(failure?.description ?? "")"
        )
        #expect(!temporary.exists("started"))
    }

    /// What openssl signs otherwise than it should: its arguments are added to those of the signer.
    @Test(
        arguments: [
            ("-sha1", "with a weak signature"), ("-days -1", "that is not valid now"),
        ]
    )
    func aCertificateOfBadFormIsNotTaken(arguments: String, reason: String) throws {
        try makeAuthority()
        let tpm = try start(openssl + arguments.split(separator: " ").map(String.init))
        let text = String(decoding: try tpm.hear().body, as: UTF8.self)
        #expect(
            text.hasPrefix("cannot certify the TPM: the signer has answered with a certificate \(reason)"),
            "\(text)"
        )
        #expect(try tpm.reap() == .exited(1))
    }

    /// Only the time that the signer takes counts, and not that of the TPM.
    @Test func whatTheTPMTakesDoesNotCount() throws {
        try makeAuthority()
        let tpm = try start(openssl, timeout: 8)
        tpm.beforeAuthority = { Platform.sleep(milliseconds: 9000) }
        try tpm.create()
        #expect(try tpm.stop() == .exited(0))
    }

    @Test(
        arguments: [
            // After the end: on a slow machine it arrives only when the next certificate has been asked for.
            "sed --unbuffered '/END/a more'", "sed --unbuffered '/END/s/$/\\nmore/'",
            // Before the beginning.
            "sed --unbuffered '/BEGIN/i more'",
        ]
    )
    func whatIsWrittenBesideACertificateIsRefused(filter: String) throws {
        try makeAuthority()
        let command = try program("'\(Self.signer)' ca.pem -CAkey ca.key | \(filter)")
        let tpm = try start(command)
        let text = String(decoding: try tpm.hear().body, as: UTF8.self)
        #expect(
            text
                == "cannot certify the TPM: the signer writes more than the certificate that it is asked for (\(Self.byHand))",
            "\(text)"
        )
        #expect(try tpm.reap() == .exited(1))
    }
}
