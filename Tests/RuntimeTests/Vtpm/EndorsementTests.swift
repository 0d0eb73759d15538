import AuthorityClient
import Crypto
import CryptoCertificates
import Glibc
import Platform
import RuntimeAdministration
import RuntimeControl
import RuntimeEndorsement
import RuntimeState
import TestSupport
import Testing
import VTPMProxy

/// Certificates for endorsement keys: the real authority, supervisor and worker; tpm2-tools and openssl judge.
@Suite(.serialized) struct EndorsementTests {
    static let all = RequestedKeys(ofNew: .standard, ofExisting: .standard)

    static func start(
        in temporary: TemporaryDirectory,
        stateID: String = "web",
        _ keys: RequestedKeys = all,
        isEphemeral: Bool = false,
        _ level: EndorsementLevel = .certificates
    ) throws -> VTPMUnderTest {
        let tpm = try VTPMUnderTest(
            in: temporary,
            stateID: stateID,
            isEphemeral: isEphemeral,
            tpmKeys: keys,
            endorsement: level
        )
        try tpm.create()
        return tpm
    }

    static func repository(in temporary: TemporaryDirectory) throws -> StateRepository {
        let ring = KeyRing(try MasterKey(secret(1)))
        let index = try HostIndex(in: temporary.directory("index"), path: "", keys: ring)
        return StateRepository(in: try temporary.directory("states"), path: "", keys: ring, index: index)
    }

    func record(in temporary: TemporaryDirectory, _ stateID: String = "web") throws -> EndorsementRecord {
        try #require(try Self.repository(in: temporary).endorsement(of: stateID))
    }

    /// The certificates of both keys, in DER, as hexadecimal digits.
    func certificates(of tpm: VTPMUnderTest) throws -> String {
        try tpm.run("for i in 2 a; do tpm2_nvread 0x1c0000$i 2>/dev/null | od -An -v -tx1 | tr -d ' \\n'; echo; done")
    }

    /// What openssl says of the certificates as the TPM shows them, which are left as files, in DER and in PEM.
    static func verdict(on tpm: VTPMUnderTest) throws -> String {
        try tpm.run(
            """
            set -e
            tpm2_getekcertificate -o rsa.der -o ecc.der 2>/dev/null
            tpm2_nvread 0x01c00100 -o ca.der 2>/dev/null
            for name in rsa ecc ca; do openssl x509 -inform der -in $name.der -out $name.pem; done
            openssl verify -x509_strict -CAfile ca.pem rsa.pem ecc.pem
            """
        )
    }

    // MARK: - A new TPM

    @Test(arguments: [false, true]) func verifiersAcceptTheCertificates(isEphemeral: Bool) throws {
        let temporary = try TemporaryDirectory()
        let tpm = try Self.start(in: temporary, isEphemeral: isEphemeral)
        #expect(try Self.verdict(on: tpm) == "rsa.pem: OK\necc.pem: OK\n")
        // The certificate, the key at its handle and the one that is made from tpm2-tools' own template are one key.
        for (algorithm, handle) in [("rsa", "0x81010001"), ("ecc", "0x8101000a")] {
            let keys = try tpm.run(
                """
                openssl x509 -in \(algorithm).pem -noout -pubkey
                tpm2_readpublic -Q -c \(handle) -f pem -o kept.pem && cat kept.pem
                tpm2_createek -Q -c ek.ctx -G \(algorithm) -f pem -u made.pem && tpm2_flushcontext -Q -t && cat made.pem
                """
            )
            let lines = keys.split(separator: "\n")
            #expect(
                lines.count % 3 == 0
                    && Set(
                        stride(from: 0, to: lines.count, by: lines.count / 3).map {
                            lines[$0..<$0 + lines.count / 3].joined()
                        }
                    ).count == 1
            )
        }
        let record =
            isEphemeral
            ? try #require(EndorsementRecord(decoding: tpm.endorsement)) : try self.record(in: temporary)
        #expect(record.level == .certificates && record.keys.map(\.key) == [.endorsementRSA, .endorsementP256])
        #expect(record.stateID == (isEphemeral ? "" : "web") && record.containerID == "container-web")
        #expect(record.bundle == temporary.path && record.image == "docker.io/library/web:1")
        for (key, name) in zip(record.keys, ["rsa", "ecc"]) {
            #expect(try temporary.read("\(name).der") == key.certificate)
        }
        #expect(record.chain == [try temporary.read("ca.der")])
        #expect(try tpm.stop() == .exited(0))
    }

    @Test func theIndexesAreReadByAllAndWrittenByNobody() throws {
        let tpm = try Self.start(in: TemporaryDirectory())
        #expect(try tpm.run("tpm2_getcap handles-nv-index") == "- 0x1C00002\n- 0x1C0000A\n- 0x1C00100\n")
        let attributes = try tpm.run("tpm2_nvreadpublic | sed -n 's/ *value: 0x62072801/yes/p'")
        #expect(attributes == "yes\nyes\nyes\n")
        for index in ["0x1c00002", "0x1c0000a", "0x1c00100"] {
            for hierarchy in ["o", "p", index] {
                #expect(try tpm.tool("echo x | tpm2_nvwrite -Q -C \(hierarchy) -i - \(index)").status != .exited(0))
                #expect(try tpm.tool("tpm2_nvundefine -Q -C \(hierarchy) \(index)").status != .exited(0))
            }
            // By the owner, and by the index's own authorization.
            #expect(try tpm.run("tpm2_nvread -C o \(index) | wc -c") == tpm.run("tpm2_nvread \(index) | wc -c"))
        }
        // Nothing of the authority's is left.
        #expect(try tpm.run("tpm2_getcap handles-transient; tpm2_getcap handles-loaded-session").isEmpty)
        #expect(try tpm.run("tpm2_getcap handles-persistent") == "- 0x81000001\n- 0x81010001\n- 0x8101000A\n")
        #expect(try tpm.stop() == .exited(0))
    }

    /// What the certificate says of the TPM is what the TPM says of itself.
    @Test func theCertificateNamesTheTPMAndTheInstance() throws {
        let temporary = try TemporaryDirectory()
        let tpm = try Self.start(in: temporary)
        let said = try tpm.run(
            """
            property() { tpm2_getcap properties-fixed | sed -n "/^$1:/,/^T/s/ *raw: 0x//p" | head -n 1; }
            echo "$(property TPM2_PT_FIRMWARE_VERSION_1) $(property TPM2_PT_REVISION) $(property TPM2_PT_MANUFACTURER)"
            """
        ).split(separator: " ").map { $0.trimmingPrefix(" ") }
        let text = try tpm.run(
            "tpm2_nvread 0x1c00002 2>/dev/null | openssl x509 -inform der -noout -text -nameopt multiline,utf8"
        )
        let uuid = try Self.repository(in: temporary).index.entry(StateDirectoryName.encoded("web"))?.uuid ?? []
        let digits = Hexadecimal.encode(uuid)
        #expect(digits.count == 32)
        let manufacturer = said[2].split(separator: "\n")[0]
        #expect(
            text.contains(
                "2.23.133.2.1=id:\(manufacturer.uppercased())/2.23.133.2.2=SW   TPM/2.23.133.2.3=id:\(said[0])"
            )
        )
        let compact = text.replacing("-", with: "")
        #expect(compact.contains("URI:urn:uuid:\(digits)") && compact.contains("commonName                = \(digits)"))
        #expect(text.contains("CA:FALSE") && text.contains("Key Encipherment") && text.contains("2.23.133.8.1"))
        #expect(!text.contains("X509v3 Subject Alternative Name: critical"))
        // tpmSpecification: "2.0", level 0, the revision.
        let revision = try #require(UInt8(said[1], radix: 16))
        let bytes = Array(try tpm.run("tpm2_nvread 0x1c00002 2>/dev/null | od -An -v -tx1 | tr -d ' \\n'"))
        let specification = "0c03322e30020100" + (revision < 128 ? "0201" : "020200") + String(revision, radix: 16)
        #expect(String(bytes).contains(specification))
        #expect(try tpm.stop() == .exited(0))
    }

    @Test func withoutCertificatesThereIsARecordAlone() throws {
        let temporary = try TemporaryDirectory()
        let tpm = try Self.start(in: temporary, Self.all, .keys)
        #expect(try tpm.run("tpm2_getcap handles-nv-index").isEmpty)
        let record = try record(in: temporary)
        #expect(record.level == .keys && record.keys.count == 2 && record.chain.isEmpty)
        #expect(record.keys.allSatisfy { $0.certificate.isEmpty && $0.obstacle.isEmpty })
        #expect(try tpm.stop() == .exited(0))
        // The operator asks for certificates later.
        let later = try Self.start(in: temporary)
        #expect(try self.record(in: temporary).level == .certificates && later.authority != nil)
        #expect(try later.stop() == .exited(0))
    }

    /// A disk flushes for a new state with keys and certificates no more often than for one without, and before the hook hears of it.
    @Test func anEndorsedTPMIsStoredByFiveFlushesAtMost() throws {
        let temporary = try TemporaryDirectory()
        // The first state of a host also makes the index.
        #expect(try Self.start(in: temporary, stateID: "other").stop() == .exited(0))
        var flushes: [Int] = []
        for (name, keys, level) in [
            ("plain", RequestedKeys.none, EndorsementLevel.none), ("web", Self.all, .certificates),
        ] {
            let file = "\(temporary.path)/trace"
            let tpm = try VTPMUnderTest(
                in: temporary,
                stateID: name,
                tpmKeys: keys,
                endorsement: level,
                trace: file,
                traced: "fsync,fdatasync,sync,syncfs,msync,sendmsg"
            )
            try tpm.create()
            #expect(try tpm.stop() == .exited(0))
            let calls = try SystemCallTrace(file, ended: 2).calls
            // "ready" is the supervisor's message with the lease's directory.
            let ready = try #require(calls.firstIndex { $0.name == "sendmsg" && $0.arguments.contains("/run/lease-") })
            // The index's root is flushed once for all that change the index at the same time.
            let synced = calls.indices.filter { index in
                calls[index].name != "sendmsg"
                    && !["/index>", "/index.new>"].contains { calls[index].arguments.contains($0) }
            }
            flushes.append(synced.filter { $0 < ready }.count)
            // Nothing follows but what the stop takes.
            #expect(synced.filter { $0 > ready }.count <= 3)
        }
        #expect(flushes[1] == flushes[0] && flushes[1] <= 5, "\(flushes)")
    }

    @Test func whoIsAskedForNothingAsksNobody() throws {
        let temporary = try TemporaryDirectory()
        let tpm = try Self.start(in: temporary, Self.all, .none)
        #expect(tpm.authority == nil)
        #expect(try Self.repository(in: temporary).endorsement(of: "web") == nil)
        #expect(try tpm.stop() == .exited(0))
    }

    // MARK: - Failures

    /// The container is not created, and nothing is left of its TPM.
    @Test func anAuthorityThatEndsIsAFailureOfTheStart() throws {
        let temporary = try TemporaryDirectory()
        let tpm = try VTPMUnderTest(in: temporary, tpmKeys: Self.all, endorsement: .certificates)
        tpm.killsAuthority = true
        let heard = try tpm.hear()
        #expect(heard.kind == .failure)
        let text = String(decoding: heard.body, as: UTF8.self)
        #expect(text.hasPrefix("cannot endorse the TPM: the certificate authority ended"), "\(text)")
        #expect(try tpm.reap() == .exited(1))
        #expect(try Self.repository(in: temporary).names() == [])
        // A container that has had its TPM before goes without.
        #expect(try Self.start(in: temporary, stateID: "old", Self.all, .none).stop() == .exited(0))
        let old = try VTPMUnderTest(in: temporary, stateID: "old", tpmKeys: Self.all, endorsement: .certificates)
        old.hasNoAuthority = true
        try old.create()
        #expect(try old.stop() == .exited(0))
        #expect(try Self.repository(in: temporary).endorsement(of: "old") == nil)
        let new = try VTPMUnderTest(in: temporary, tpmKeys: Self.all, endorsement: .certificates)
        new.hasNoAuthority = true
        let refused = String(decoding: try new.hear().body, as: UTF8.self)
        #expect(refused == "cannot endorse the TPM: the hook has no certificate authority")
        #expect(try new.reap() == .exited(1))
        // So it does where the authority ends at once.
        let left = try VTPMUnderTest(in: temporary, stateID: "old", tpmKeys: Self.all, endorsement: .certificates)
        left.killsAuthority = true
        try left.create()
        #expect(try left.stop() == .exited(0))
        #expect(try Self.repository(in: temporary).endorsement(of: "old") == nil)
        // The next one has all.
        let next = try Self.start(in: temporary)
        #expect(try record(in: temporary).level == .certificates)
        #expect(try next.stop() == .exited(0))
    }
}
