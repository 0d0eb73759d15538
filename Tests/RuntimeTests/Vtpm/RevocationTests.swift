import AuthorityClient
import Configuration
import CryptoCertificates
import Glibc
import Platform
import RuntimeAdministration
import RuntimeControl
import RuntimeEndorsement
import RuntimeKeys
import RuntimeState
import TestSupport
import Testing
import VTPMProxy

/// Certificates that are revoked: the real authority signs the list, and openssl judges.
@Suite(.serialized) struct RevocationTests {
    private static let url = "http://example.org/host-ca.crl"

    private func endorsed(in temporary: TemporaryDirectory, _ stateID: String) throws -> EndorsementRecord {
        let tpm = try VTPMUnderTest(
            in: temporary,
            stateID: stateID,
            tpmKeys: EndorsementTests.all,
            endorsement: .certificates
        )
        tpm.orders.listURL = Self.url
        try tpm.create()
        #expect(try tpm.stop() == .exited(0))
        return try #require(try EndorsementTests.repository(in: temporary).endorsement(of: stateID))
    }

    private func shell(_ command: String, in temporary: TemporaryDirectory) throws -> (WaitStatus, String) {
        let script = "cd '\(temporary.path)' && { \(command); } >out 2>&1"
        let status = try ProgramLaunch("/bin/bash", ["bash", "-c", script]).start().wait()
        return (status, String(decoding: try temporary.read("out"), as: UTF8.self))
    }

    private func revoked(_ record: EndorsementRecord) throws -> [RevokedCertificate] {
        try record.keys.map { key in
            let number = try Certificate(decoding: key.certificate).serialNumber
            return try #require(RevokedCertificate(serialNumber: number, of: record.instance, time: 1_800_000_000))
        }
    }

    @Test func verifiersRefuseWhatIsRevokedAndNothingElse() throws {
        let temporary = try TemporaryDirectory()
        let gone = try endorsed(in: temporary, "gone"), stays = try endorsed(in: temporary, "stays")
        let authority = try VTPMUnderTest.authority(below: temporary)
        let certificates = try revoked(gone)
        #expect(try authority.revoke(certificates) == 2 && authority.revoke(certificates) == 0)
        let now = UInt64(clamping: time(nil))
        try temporary.write("crl.der", authority.list(at: now, validFor: 86400))
        try temporary.write("ca.der", try #require(gone.chain.first))
        for (name, record) in [("gone", gone), ("stays", stays)] {
            for (key, kind) in zip(record.keys, ["rsa", "ecc"]) {
                try temporary.write("\(name)-\(kind).der", key.certificate)
            }
        }
        let (status, output) = try shell(
            """
            for name in ca gone-rsa gone-ecc stays-rsa stays-ecc; do openssl x509 -inform der -in $name.der -out $name.pem; done
            openssl crl -inform der -in crl.der -out crl.pem
            openssl crl -in crl.pem -CAfile ca.pem -noout
            for name in gone-rsa gone-ecc stays-rsa stays-ecc; do
                openssl verify -x509_strict -crl_check -CAfile ca.pem -CRLfile crl.pem $name.pem
            done
            openssl crl -in crl.pem -noout -crlnumber -nextupdate -issuer
            openssl x509 -in stays-rsa.pem -noout -ext crlDistributionPoints
            """,
            in: temporary
        )
        #expect(status == .exited(0), "\(output)")
        #expect(output.contains("verify OK\n"))
        for kind in ["rsa", "ecc"] {
            #expect(output.contains("error gone-\(kind).pem: verification failed"), "\(output)")
            #expect(output.contains("stays-\(kind).pem: OK"), "\(output)")
        }
        #expect(output.ranges(of: "certificate revoked").count == 2)
        #expect(output.contains("URI:\(Self.url)"))
        // How many are revoked, then the time.
        let listNumber = String(2 << 40 | now, radix: 16)
        #expect(output.lowercased().contains("crlnumber=0x") && output.lowercased().contains(listNumber), "\(output)")
    }

    /// An empty list is one as well, which says that nothing is revoked.
    @Test func aListOfNothingIsOne() throws {
        let temporary = try TemporaryDirectory()
        let authority = try VTPMUnderTest.authority(below: temporary)
        try temporary.write("ca.der", try #require(try authority.key().chain.first))
        try temporary.write("crl.der", authority.list(at: UInt64(clamping: time(nil)), validFor: 60))
        let (status, output) = try shell(
            "openssl x509 -inform der -in ca.der -out ca.pem && openssl crl -inform der -in crl.der -CAfile ca.pem -noout -text",
            in: temporary
        )
        #expect(status == .exited(0) && output.contains("verify OK") && output.contains("No Revoked Certificates"))
    }

    @Test func theMostThatCanBeRevokedAreListed() throws {
        let temporary = try TemporaryDirectory()
        let authority = try VTPMUnderTest.authority(below: temporary)
        _ = try authority.key()
        let all = (0..<UInt16(RevokedCertificate.countLimit)).compactMap { number in
            RevokedCertificate(
                serialNumber: [0x7f] + [UInt8](repeating: 0xff, count: 17) + [
                    UInt8(number >> 8), UInt8(number & 0xff),
                ],
                time: 1_800_000_000
            )
        }
        #expect(try authority.revoke(all) == RevokedCertificate.countLimit)
        try temporary.write("crl.der", authority.list(at: 1_800_000_001, validFor: 60))
        let (status, output) = try shell(
            "openssl crl -inform der -in crl.der -noout -text | grep -c 'Serial Number'",
            in: temporary
        )
        #expect(status == .exited(0) && output == "\(RevokedCertificate.countLimit)\n")
        let one = try #require(RevokedCertificate(serialNumber: [1], time: 1))
        let failure = #expect(throws: Failure.self) { _ = try authority.revoke([one]) }
        #expect(failure?.description == "cannot revoke a certificate: 10000 are revoked, and 10000 are the most")
        // A TPM is still certified.
        #expect(try !endorsed(in: temporary, "web").keys[0].certificate.isEmpty)
    }

    /// Neither a key that is asked for later nor the platform gets a certificate that nobody has revoked.
    @Test(arguments: [true, false]) func aRevokedTPMGetsNoOtherCertificate(isKnownByInstance: Bool) throws {
        let temporary = try TemporaryDirectory()
        let before = try endorsed(in: temporary, "web")
        let serial = try Certificate(decoding: before.keys[0].certificate).serialNumber
        let revoked = try #require(
            RevokedCertificate(
                serialNumber: isKnownByInstance ? [1] : serial,
                of: isKnownByInstance ? before.instance : nil,
                time: 1
            )
        )
        #expect(try VTPMUnderTest.authority(below: temporary).revoke([revoked]) == 1)
        let more: StandardKeys = [.standard, StandardKeys(.endorsementP384)]
        let tpm = try VTPMUnderTest(
            in: temporary,
            tpmKeys: RequestedKeys(ofNew: more, ofExisting: more),
            endorsement: .certificates
        )
        tpm.orders.platform = PlatformName(manufacturer: "Example", model: "Edge", version: "1")
        try tpm.create()
        #expect(try tpm.stop() == .exited(0))
        let after = try #require(try EndorsementTests.repository(in: temporary).endorsement(of: "web"))
        let key = try #require(after.keys.first { $0.key == .endorsementP384 })
        #expect(key.certificate.isEmpty && key.obstacle == "certificates of the TPM were revoked")
        #expect(after.platformCertificate.isEmpty && after.level == .none)
        // What it has, it keeps.
        #expect(after.keys.map(\.certificate).contains(before.keys[0].certificate))
    }

    /// Where the operator's authority has taken the host's own place, what that one has issued can still be revoked.
    @Test func theHostsOwnAuthorityRevokesAlsoBehindTheOperators() throws {
        let temporary = try TemporaryDirectory()
        let operators = try VTPMUnderTest.authority(
            below: temporary,
            files: .init(key: "\(temporary.path)/k", certificates: "\(temporary.path)/c")
        )
        let one = try #require(RevokedCertificate(serialNumber: [1], time: 1))
        #expect(
            #expect(throws: Failure.self) { _ = try operators.list(at: 1, validFor: 1) }?.description
                == "cannot list revoked certificates: the host has no certificate authority of its own"
        )
        #expect(
            #expect(throws: Failure.self) { _ = try operators.revoke([one]) }?.description
                == "cannot revoke a certificate: the host has no certificate authority yet"
        )
        _ = try VTPMUnderTest.authority(below: temporary).key()
        #expect(try operators.revoke([one]) == 1)
        #expect(try operators.list(at: 1_800_000_000, validFor: 60).count > 100)
    }
}
