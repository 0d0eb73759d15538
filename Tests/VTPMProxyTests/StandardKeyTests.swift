import Testing
import VTPMProxy

@Suite struct StandardKeyTests {
    private static let policy: [UInt8] = [
        0x83, 0x71, 0x97, 0x67, 0x44, 0x84, 0xb3, 0xf8, 0x1a, 0x90, 0xcc, 0x8d, 0x46, 0xa5, 0xd7, 0x24,
        0xfd, 0x52, 0xd7, 0x6e, 0x06, 0x52, 0x0b, 0x64, 0xf2, 0xa1, 0xda, 0x1b, 0x33, 0x14, 0x69, 0xaa,
    ]
    private static let zeros = [UInt8](repeating: 0, count: 256)

    /// TPMT_PUBLIC of the profile's L-1 and L-2, and of the storage root key.
    @Test func theTemplatesAreThoseOfTheSpecifications() {
        // AES 128 CFB, no scheme.
        let symmetric: [UInt8] = [0, 6, 0, 0x80, 0, 0x43, 0, 0x10]
        let rsa: [UInt8] = symmetric + [8, 0, 0, 0, 0, 0] + [1, 0] + Self.zeros
        let ecc: [UInt8] = symmetric + [0, 3, 0, 0x10] + [0, 32] + Self.zeros[..<32] + [0, 32] + Self.zeros[..<32]
        let endorsement: [UInt8] = [0, 0x0b, 0, 3, 0, 0xb2, 0, 32] + Self.policy
        #expect(StandardKey.endorsementRSA.template.bytes == [0, 1] + endorsement + rsa)
        #expect(StandardKey.endorsementP256.template.bytes == [0, 0x23] + endorsement + ecc)
        #expect(StandardKey.storageRSA.template.bytes == [0, 1, 0, 0x0b, 0, 3, 4, 0x72, 0, 0] + rsa)
        #expect(StandardKey.secondP256.template.bytes == StandardKey.endorsementP256.template.bytes)
        let attestation: [UInt8] = [
            0, 1, 0, 0x0b, 0, 5, 4, 0x72, 0, 0, 0, 0x10, 0, 0x14, 0, 0x0b, 8, 0, 0, 0, 0, 0, 0, 0,
        ]
        #expect(StandardKey.attestationRSA.template.bytes == attestation)
    }

    /// What follows the policy of 48 bytes, and precedes it.
    @Test func theTemplatesWithSHA384AreThoseOfTheSpecifications() {
        // AES 256 CFB, no scheme; or no symmetric algorithm, ECDSA with SHA-384.
        let (stores, signs): ([UInt8], [UInt8]) = ([0, 6, 1, 0, 0, 0x43, 0, 0x10], [0, 0x10, 0, 0x18, 0, 0x0c])
        let p384: [UInt8] = [0, 4, 0, 0x10]
        let expected: [(StandardKey, [UInt8], [UInt8])] = [
            (.endorsementRSA3072, [0, 1, 0, 0x0c, 0, 3, 0, 0xf2, 0, 48], stores + [0x0c, 0, 0, 0, 0, 0, 0, 0]),
            (.endorsementP384, [0, 0x23, 0, 0x0c, 0, 3, 0, 0xf2, 0, 48], stores + p384 + [0, 0, 0, 0]),
            (
                .attestationP384, [0, 0x23, 0, 0x0c, 0, 5, 0, 0xf2, 0, 48],
                signs + p384 + [0, 3] + Array("IAK".utf8) + [0, 0]
            ),
            (
                .deviceIdentityP384, [0, 0x23, 0, 0x0c, 0, 4, 0, 0xf2, 0, 48],
                signs + p384 + [0, 6] + Array("IDEVID".utf8) + [0, 0]
            ),
        ]
        for (key, start, end) in expected {
            let bytes = key.template.bytes
            #expect(bytes.starts(with: start) && Array(bytes.dropFirst(58)) == end, "\(key)")
            let policy: [UInt8] =
                switch key {
                case .attestationP384: [0x12, 0x9d, 0x94, 0xeb, 0x45, 0xaa, 0xb3, 0x12]
                case .deviceIdentityP384: [0x4d, 0xb1, 0xaa, 0x83, 0x42, 0xc3, 0xdd, 0x33]
                default: [0xb2, 0x6e, 0x7d, 0x28, 0xf3, 0xf8, 0x0e, 0x12]
                }
            #expect(Array(bytes[10..<14]) + Array(bytes[54..<58]) == policy, "\(key)")
        }
    }

    /// More keys than one TPM has, and no two of the same name; where two have one handle, one of them is chosen.
    @Test func keysAreDistinct() {
        #expect(Set(StandardKey.allCases.map(\.name)).count == StandardKey.allCases.count)
        #expect(Set(StandardKey.allCases.map(\.handle)).count == StandardKey.allCases.count - 1)
        #expect(StandardKey.allCases.filter(\.isRecorded).count <= EndorsementHead.keyLimit)
    }

    @Test func aCommandsSizeIsThatOfItsBytes() {
        for key in StandardKey.allCases {
            for command in [
                TPMCommand.createPrimary(key), TPMCommand.keep(0x8000_0000, at: key.handle),
                TPMCommand.flush(0x8000_0000), TPMCommand.persistentHandles, TPMCommand.value(of: 0x200),
            ] { #expect(Int(command[4]) << 8 | Int(command[5]) == command.count, "\(key)") }
        }
    }

    @Test func aResponseIsReadNoFurtherThanItGoes() {
        let handles: [UInt8] = [0x80, 1, 0, 0, 0, 23, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0x81, 1, 0, 1]
        #expect(handles.withUnsafeBytes { TPMCommand.handles(in: $0) } == [0x8101_0001])
        let value: [UInt8] = [0x80, 1, 0, 0, 0, 27, 0, 0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 1, 0, 0, 2, 0, 0, 0, 0, 5]
        #expect(value.withUnsafeBytes { TPMCommand.value(of: 0x200, in: $0) } == 5)
        #expect(value.withUnsafeBytes { TPMCommand.value(of: 0x209, in: $0) } == nil)
        let created: [UInt8] = [0x80, 2, 0, 0, 0, 14, 0, 0, 0, 0, 0x80, 0, 0, 0]
        #expect(created.withUnsafeBytes { TPMCommand.createdHandle(in: $0) } == 0x8000_0000)
        for size in 0..<value.count {
            #expect(value.prefix(size).withUnsafeBytes { TPMCommand.value(of: 0x200, in: $0) } == nil, "\(size)")
        }
        for size in 0..<handles.count {
            #expect(handles.prefix(size).withUnsafeBytes { TPMCommand.handles(in: $0) }.isEmpty, "\(size)")
        }
        for size in 0..<created.count {
            #expect(created.prefix(size).withUnsafeBytes { TPMCommand.createdHandle(in: $0) } == nil, "\(size)")
        }
        // More than a response has room for.
        let many: [UInt8] = handles[..<15] + [0xff, 0xff, 0xff, 0xff] + handles[19...]
        #expect(many.withUnsafeBytes { TPMCommand.handles(in: $0) }.isEmpty)
        #expect([0x80, 1, 0, 0, 0, 10, 0, 0, 1, 0x4b].withUnsafeBytes { TPMCommand.createdHandle(in: $0) } == nil)
    }

    @Test func aSetKnowsWhichBitsStandForKeys() {
        #expect(StandardKeys.known.elements == StandardKey.allCases)
        #expect(StandardKeys.standard.elements == [.endorsementRSA, .endorsementP256, .storageRSA])
        #expect(StandardKeys(rawValue: 0b101).elements == [.endorsementRSA, .storageRSA])
        #expect(StandardKeys.known.isKnown && !StandardKeys(rawValue: 1 << 9).isKnown)
    }
}
