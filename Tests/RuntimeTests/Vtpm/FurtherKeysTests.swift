import Crypto
import Platform
import RuntimeAdministration
import RuntimeControl
import RuntimeEndorsement
import RuntimeState
import TestSupport
import Testing
import VTPMProxy

/// Keys beyond those of a usual TPM: of the high range, device identities, and those at 0x81010002.
@Suite(.serialized) struct FurtherKeysTests {
    private static func keys(_ keys: [StandardKey]) -> RequestedKeys {
        let set = StandardKeys(keys.map { StandardKeys($0) })
        return RequestedKeys(ofNew: set, ofExisting: set)
    }

    private func record(in temporary: TemporaryDirectory) throws -> EndorsementRecord {
        try #require(try EndorsementTests.repository(in: temporary).endorsement(of: "web"))
    }

    /// Has openssl verify the certificate in an index, which must be that of the key at a handle; leaves `key.pem`.
    private static func verdict(_ tpm: VTPMUnderTest, _ index: String, _ handle: String) throws -> String {
        try tpm.run(
            """
            set -e
            tpm2_nvread 0x01c00100 -o ca.der 2>/dev/null && openssl x509 -inform der -in ca.der -out ca.pem
            tpm2_nvread \(index) -o key.der 2>/dev/null && openssl x509 -inform der -in key.der -out key.pem
            tpm2_readpublic -Q -c \(handle) -f pem -o kept.pem
            openssl x509 -in key.pem -noout -pubkey | cmp - kept.pem
            openssl verify -x509_strict -CAfile ca.pem key.pem
            """
        )
    }

    /// What tpm2-tools say of a quote by the key at a handle.
    private static func quoteVerdict(_ tpm: VTPMUnderTest, _ handle: String, _ digest: String) throws -> String {
        try tpm.run(
            """
            set -e
            tpm2_readpublic -Q -c \(handle) -f pem -o signer.pem
            tpm2_quote -Q -c \(handle) -l sha256:0 -q 0123 -g \(digest) -m message -s signature
            tpm2_checkquote -Q -u signer.pem -m message -s signature -q 0123 -g \(digest) && echo accepted
            """
        )
    }

    // MARK: - The high range

    @Test(
        arguments: [
            (StandardKey.endorsementP384, "0x01c00016", "ecc384:null:aes256cfb -g sha384"),
            (.endorsementRSA3072, "0x01c0001c", "rsa3072:null:aes256cfb -g sha384"),
        ]
    )
    func aKeyOfTheHighRangeIsCertified(key: StandardKey, index: String, algorithm: String) throws {
        let temporary = try TemporaryDirectory()
        let tpm = try EndorsementTests.start(in: temporary, Self.keys([key]))
        let handle = "0x" + String(key.handle, radix: 16)
        #expect(try Self.verdict(tpm, index, handle) == "key.pem: OK\n")
        let recorded = try record(in: temporary)
        #expect(recorded.level == .certificates && recorded.keys.map(\.key) == [key] && !recorded.quotingKey.isEmpty)
        // The profile's template by its parts: PolicyB is what users of either branch satisfy.
        let made = try tpm.run(
            """
            set -e
            printf '\(Self.policyB)' >b.policy
            tpm2_createprimary -Q -C e -G \(algorithm) -L b.policy -c made.ctx -f pem -o made.pem \\
                -a 'fixedtpm|fixedparent|sensitivedataorigin|userwithauth|adminwithpolicy|restricted|decrypt'
            tpm2_flushcontext -Q -t && cat made.pem
            """
        )
        #expect(try tpm.run("cat kept.pem") == made)
        // What anybody encrypts to it is opened by its authorization.
        try tpm.run(
            """
            set -e
            tpm2_createprimary -Q -C n -c other.ctx && tpm2_readpublic -Q -c other.ctx -n other.name
            tpm2_readpublic -Q -c \(handle) -o ek.tpm2b
            printf 0123456789abcdef >secret
            tpm2_makecredential -Q -T none -u ek.tpm2b -s secret -n $(od -An -v -tx1 other.name | tr -d ' \\n') -o blob
            tpm2_activatecredential -Q -c other.ctx -C \(handle) -i blob -o opened && cmp secret opened
            tpm2_flushcontext -Q -t
            """
        )
        #expect(try tpm.stop() == .exited(0))
    }

    /// With SHA-384, as printf(1) takes it.
    private static let policyB = [
        0xb26e_7d28_d11a_50bc, 0x53d8_82bc_f5fd_3a1a, 0x0741_48bb_35d3_b4e4, 0xcb1c_0ad9_bde4_19ca,
        0xcb47_ba09_6996_4615,
        0x0f9f_c000_f3f8_0e12,
    ].flatMap { (word: UInt64) in (0..<8).map { UInt8(truncatingIfNeeded: word >> (56 - 8 * $0)) } }
        .map { "\\" + String($0, radix: 8) }.joined()

    // MARK: - Device identities

    private static let identities = keys([.endorsementP256, .attestationP384, .deviceIdentityP384])

    @Test func deviceIdentitiesAreCertified() throws {
        let temporary = try TemporaryDirectory()
        let tpm = try EndorsementTests.start(in: temporary, Self.identities)
        let instance = try record(in: temporary).instance
        for (index, handle, attributes) in [
            ("0x01c90100", "0x81020001", "0x500f2"), ("0x01c90200", "0x81020000", "0x400f2"),
        ] {
            #expect(try Self.verdict(tpm, index, handle) == "key.pem: OK\n")
            #expect(try tpm.run("tpm2_readpublic -c \(handle) | grep -A2 ^attributes").contains("raw: \(attributes)"))
            let extensions = try tpm.run(
                "openssl x509 -in key.pem -noout -ext keyUsage,basicConstraints,extendedKeyUsage"
            )
            #expect(extensions.contains("X509v3 Key Usage: critical\n    Digital Signature\n"))
            #expect(extensions.contains("CA:FALSE") && !extensions.contains("Extended"))
            // The hardware module's name, as RFC 4108 has it: the type of a TPM 2.0, and the serial number.
            let name = try tpm.run(
                """
                start=$(openssl asn1parse -in key.pem | sed -n '/Subject Alternative Name/{n;s/ *:.*//p}')
                openssl asn1parse -in key.pem -strparse $start | sed 's/.*prim: *//;s/.*cons: *//'
                """
            )
            #expect(name.contains("OBJECT            :1.3.6.1.5.5.7.8.4"), "\(name)")
            #expect(name.contains("OBJECT            :2.23.133.1.2"), "\(name)")
            #expect(name.contains("OCTET STRING      :\(Hexadecimal.uuid(instance))"), "\(name)")
        }
        // The attestation key quotes, and tpm2-tools accept what it says.
        #expect(try Self.quoteVerdict(tpm, "0x81020001", "sha384") == "accepted\n")
        #expect(try tpm.run("tpm2_getcap handles-transient; tpm2_getcap handles-loaded-session").isEmpty)
        #expect(try tpm.stop() == .exited(0))
    }

    /// Also after TPM2_Clear, which takes the handles away.
    @Test func aStateFromBeforeGetsThemAndTheyStay() throws {
        let temporary = try TemporaryDirectory()
        let before = try EndorsementTests.start(in: temporary, Self.keys([.endorsementP256]))
        #expect(try before.stop() == .exited(0))
        let then = try record(in: temporary)

        var kept: [String] = []
        for _ in 0..<2 {
            let tpm = try EndorsementTests.start(in: temporary, Self.identities)
            let now = try record(in: temporary)
            #expect(now.level == .certificates && now.keys.count == 3)
            #expect(now.keys.first == then.keys.first && now.quotingKey == then.quotingKey)
            #expect(now.keys.allSatisfy { !$0.certificate.isEmpty && $0.obstacle.isEmpty && !$0.digest.isEmpty })
            kept.append(try tpm.run("for i in 0x1c90100 0x1c90200; do tpm2_nvread $i 2>/dev/null | sha256sum; done"))
            try tpm.run("tpm2_clear -Q -c l")
            #expect(try tpm.stop() == .exited(0))
        }
        #expect(kept[0] == kept[1])
    }

    // MARK: - 0x81010002

    @Test func theECCKeyIsWhereGoLooksForIt() throws {
        let tpm = try EndorsementTests.start(in: TemporaryDirectory(), Self.keys([.endorsementP256, .secondP256]))
        let keys = try tpm.run(
            "for i in 0x81010002 0x8101000a; do tpm2_readpublic -Q -c $i -f pem -o key.pem && sha256sum <key.pem; done"
        ).split(separator: "\n")
        #expect(keys.count == 2 && keys[0] == keys[1])
        #expect(try tpm.stop() == .exited(0))
    }

    @Test func anAttestationKeyQuotesFromWhereTrusteeLooksForIt() throws {
        let tpm = try EndorsementTests.start(in: TemporaryDirectory(), Self.keys([.endorsementRSA, .attestationRSA]))
        #expect(try Self.quoteVerdict(tpm, "0x81010002", "sha256") == "accepted\n")
        #expect(try tpm.stop() == .exited(0))
    }

    // MARK: - The platform's certificate

    @Test func thePlatformHasACertificateWhereOneIsAskedFor() throws {
        let temporary = try TemporaryDirectory()
        let name = PlatformName(manufacturer: "Example", model: "Edge 5", version: "2.1")
        var kept: [String] = []
        for manufacturer in ["Example", "Another"] {
            let tpm = try VTPMUnderTest(
                in: temporary,
                tpmKeys: Self.keys([.endorsementP256]),
                endorsement: .certificates
            )
            tpm.orders.platform = name
            tpm.orders.platform?.manufacturer = manufacturer
            try tpm.create()
            #expect(try Self.verdict(tpm, "0x01c08000", "0x8101000a") == "key.pem: OK\n")
            let text = try tpm.run("openssl x509 -in key.pem -noout -ext subjectAltName,extendedKeyUsage")
            #expect(text.contains("2.23.133.8.2"), "\(text)")
            for attribute in ["2.23.133.5.1.1=Example", "2.23.133.5.1.4=Edge 5", "2.23.133.5.1.5=2.1", "URI:urn:uuid:"]
            {
                #expect(text.replacing(" = ", with: "=").contains(attribute), "\(text)")
            }
            #expect(try record(in: temporary).platformCertificate == temporary.read("key.der"))
            kept.append(try tpm.run("sha256sum <key.der"))
            #expect(try tpm.stop() == .exited(0))
        }
        // One that was signed once stays.
        #expect(kept[0] == kept[1])
    }

    // MARK: - Banks of PCRs

    @Test(arguments: [PCRBanks.sha256, [.sha256, .sha384]]) func aNewTPMHasTheBanksThatAreAskedFor(
        banks: PCRBanks
    ) throws {
        let temporary = try TemporaryDirectory()
        var keys = RequestedKeys(ofNew: .standard, ofExisting: .standard, banks: banks)
        let tpm = try EndorsementTests.start(in: temporary, keys)
        func banksOf(_ tpm: VTPMUnderTest) throws -> [String] {
            try tpm.run("tpm2_getcap pcrs").split(separator: "\n").filter { !$0.contains("[ ]") && $0.contains("[") }
                .map { $0.trimmingPrefix { " -".contains($0) }.prefix { $0 != ":" } }.map(String.init)
        }
        let names = PCRBanks.named.filter { banks.contains($0.bank) }.map(\.name)
        #expect(try banksOf(tpm) == names)
        #expect(try EndorsementTests.verdict(on: tpm) == "rsa.pem: OK\necc.pem: OK\n")
        #expect(try tpm.run("tpm2_getcap handles-persistent") == "- 0x81000001\n- 0x81010001\n- 0x8101000A\n")
        #expect(try tpm.stop() == .exited(0))
        // Whoever has a state keeps its banks.
        keys.banks = .all
        let next = try EndorsementTests.start(in: temporary, keys)
        #expect(try banksOf(next) == names)
        #expect(try next.stop() == .exited(0))
    }
}
