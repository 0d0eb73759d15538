import CryptoDigests
import Platform
import RuntimeEndorsement
import Testing
import VTPMProxy

@testable import OCIHook

/// By which keys the host vouches for a TPM.
struct ManifestNamesTests {
    /// The public area of an endorsement key on NIST P-256: the template with a point that is no matter.
    private static let area =
        StandardKey.endorsementP256.template.head + [0, 32] + [UInt8](repeating: 1, count: 32) + [0, 32]
        + [UInt8](repeating: 2, count: 32)

    private static func record(_ key: EndorsementRecord.Key) -> EndorsementRecord {
        EndorsementRecord(
            level: .keys,
            instance: [UInt8](repeating: 7, count: 16),
            time: 0,
            stateID: "web",
            containerID: "web",
            bundle: "/",
            image: "",
            keys: [key],
            chain: []
        )
    }

    @Test func aKeyIsNamedAsTheTPMNamesIt() throws {
        let own = EndorsementRecord.Key(.endorsementP256, area: Self.area, digest: [UInt8](repeating: 9, count: 32))
        let names = try Creation.names(in: Self.record(own))
        #expect(names.keys == ["ecc-nist-p256": [0, 11] + (try DigestAlgorithm.sha256.digest(Self.area))])
        #expect(names.quotingKey == [])
    }

    /// A copy of another TPM is known by none of its keys, which are the other's as well.
    @Test func aCopysKeysAreNotNamed() throws {
        let taken = EndorsementRecord.Key(.endorsementP256, area: Self.area, obstacle: "another state has the same key")
        var record = Self.record(taken)
        record.quotingKey = Self.quotingArea
        let names = try Creation.names(in: record)
        #expect(names.keys.isEmpty && names.quotingKey == [])
        let own = EndorsementRecord.Key(.endorsementP256, area: Self.area, digest: [UInt8](repeating: 9, count: 32))
        record.keys = [own]
        #expect(try Creation.names(in: record).quotingKey.count == 34)
    }

    /// A quoting key: the template, and the base point of NIST P-256. FIPS 186-4, D.1.2.3
    private static let quotingArea: [UInt8] =
        [
            0x00, 0x23, 0x00, 0x0b, 0x00, 0x05, 0x04, 0x72, 0x00, 0x00, 0x00, 0x10, 0x00, 0x18, 0x00, 0x0b, 0x00, 0x03,
            0x00, 0x10,
        ] + [0x00, 0x20] + [
            0x6b, 0x17, 0xd1, 0xf2, 0xe1, 0x2c, 0x42, 0x47, 0xf8, 0xbc, 0xe6, 0xe5, 0x63, 0xa4, 0x40, 0xf2, 0x77, 0x03,
            0x7d, 0x81, 0x2d, 0xeb, 0x33, 0xa0, 0xf4, 0xa1, 0x39, 0x45, 0xd8, 0x98, 0xc2, 0x96,
        ] + [0x00, 0x20] + [
            0x4f, 0xe3, 0x42, 0xe2, 0xfe, 0x1a, 0x7f, 0x9b, 0x8e, 0xe7, 0xeb, 0x4a, 0x7c, 0x0f, 0x9e, 0x16, 0x2b, 0xce,
            0x33, 0x57, 0x6b, 0x31, 0x5e, 0xce, 0xcb, 0xb6, 0x40, 0x68, 0x37, 0xbf, 0x51, 0xf5,
        ]
}
