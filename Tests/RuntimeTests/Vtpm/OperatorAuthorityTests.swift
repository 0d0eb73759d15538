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

/// A certificate authority of the operator's own, which openssl has made.
@Suite(.serialized) struct OperatorAuthorityTests {
    private let temporary: TemporaryDirectory
    private var files: Configuration.Authority.Files {
        .init(key: "\(temporary.path)/ca.key", certificates: "\(temporary.path)/ca.pem")
    }

    init() throws { temporary = try TemporaryDirectory() }

    private func shell(_ command: String) throws {
        let script = "cd '\(temporary.path)' && set -e && umask 077 && \(command)"
        let status = try ProgramLaunch("/bin/bash", ["bash", "-c", "{ \(script); } >log 2>&1"]).start().wait()
        try #require(status == .exited(0), "\(command)")
    }

    /// Makes root.pem, and ca.key and ca.pem below it.
    private func makeAuthority(_ key: String, extensions: String = "basicConstraints=critical,CA:TRUE,pathlen:0") throws
    {
        try shell(
            """
            openssl req -x509 -newkey rsa:2048 -nodes -keyout root.key -out root.pem -days 2 -subj /CN=root \
                -addext keyUsage=critical,keyCertSign
            openssl genpkey \(key) -out ca.key
            openssl req -new -key ca.key -subj /CN=operator -out ca.csr
            printf 'subjectKeyIdentifier=hash\\nauthorityKeyIdentifier=keyid\\nkeyUsage=critical,keyCertSign\\n%s\\n' \
                '\(extensions)' >extensions
            openssl x509 -req -in ca.csr -CA root.pem -CAkey root.key -CAcreateserial -days 2 -extfile extensions -out ca.pem
            cat root.pem >>ca.pem
            """
        )
    }

    private func start() throws -> VTPMUnderTest {
        let tpm = try VTPMUnderTest(in: temporary, tpmKeys: EndorsementTests.all, endorsement: .certificates)
        tpm.authorityFiles = files
        return tpm
    }

    @Test(
        arguments: [
            "-algorithm RSA -pkeyopt rsa_keygen_bits:3072", "-algorithm EC -pkeyopt ec_paramgen_curve:P-256",
            "-algorithm EC -pkeyopt ec_paramgen_curve:P-384",
        ]
    )
    func itCertifiesTPMs(key: String) throws {
        try makeAuthority(key)
        let tpm = try start()
        try tpm.create()
        let verdict = try tpm.run(
            """
            set -e
            tpm2_getekcertificate -o rsa.der -o ecc.der 2>/dev/null
            for name in rsa ecc; do openssl x509 -inform der -in $name.der -out $name.pem; done
            openssl verify -x509_strict -CAfile root.pem -untrusted ca.pem rsa.pem ecc.pem
            """
        )
        #expect(verdict == "rsa.pem: OK\necc.pem: OK\n")
        // Both certificates are in the TPM, one after the other over as many indexes as that takes, and in the record.
        let chain = try tpm.run(
            """
            for index in $(tpm2_getcap handles-nv-index | sed -n 's/- \\(0x1C001..\\)/\\1/p'); do
                tpm2_nvread $index 2>/dev/null
            done >chain.der
            openssl x509 -in ca.pem -outform der -out first.der && openssl x509 -in root.pem -outform der -out second.der
            cat first.der second.der | cmp - chain.der && echo same
            """
        )
        #expect(chain == "same\n")
        let record = try #require(try EndorsementTests.repository(in: temporary).endorsement(of: "web"))
        #expect(record.level == .certificates)
        #expect(record.chain == [try temporary.read("first.der"), try temporary.read("second.der")])
        #expect(!temporary.exists("keys/authority.key"))
        #expect(try tpm.stop() == .exited(0))
    }

    @Test(
        arguments: [
            ("openssl genpkey -algorithm RSA -out ca.key", "its certificate is of another key"),
            (
                "cp root.key ca.key && cp root.pem ca.pem && openssl req -x509 -key ca.key -out ca.pem -days 2 -subj /CN=x "
                    + "-addext basicConstraints=critical,CA:FALSE", "its certificate is not one of an authority"
            ),
            (": >ca.pem", "it has no certificate"),
            (
                "openssl pkey -in ca.key -aes256 -passout pass:1234 -out encrypted && mv encrypted ca.key",
                "the file has no private key in PEM that is not encrypted"
            ),
            ("echo text >ca.key", "libcrypto: "),
        ]
    )
    func whatIsNoAuthorityIsRefused(change: String, reason: String) throws {
        try makeAuthority("-algorithm EC -pkeyopt ec_paramgen_curve:P-256")
        try shell(change)
        let tpm = try start()
        let text: String
        do {
            let heard = try tpm.hear()
            #expect(heard.kind == .failure)
            text = String(decoding: heard.body, as: UTF8.self)
        } catch let failure as Failure {
            // It can have ended before its starter has told it everything; then the starter has heard why.
            text = failure.description
            _ = shutdown(tpm.hook.descriptor.number, CInt(SHUT_RDWR))
        }
        #expect(text.contains(": \(reason)") && text.hasPrefix("cannot use the "), "\(text)")
        #expect(try tpm.reap() == .exited(1))
        #expect(try EndorsementTests.repository(in: temporary).names() == [])
    }

    @Test(
        arguments: [
            ("chmod 0644 ca.key", "others may read or change it: its mode is 0644"),
            ("chmod 0666 ca.pem", "others may change it"), ("rm ca.key", "there is no such file"),
            ("mv ca.key real && ln -s real ca.key", "it is a symbolic link"),
        ]
    )
    func filesThatOthersMayChangeAreRefused(change: String, reason: String) throws {
        try makeAuthority("-algorithm EC -pkeyopt ec_paramgen_curve:P-256")
        try shell(change)
        let failure = #expect(throws: Failure.self) {
            _ = try VTPMUnderTest.authority(below: temporary, files: files).key()
        }
        #expect(failure?.why == reason)
    }
}
