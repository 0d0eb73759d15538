import Testing
import VTPMProxy

@Suite struct StandardKeyTests {
    /// TPMT_PUBLIC of the profile's L-1 and L-2, and of the storage root key.
    @Test func theTemplatesHaveTheProfilesFields() {
        for (key, type, attributes, policySize, size) in [
            (StandardKey.endorsementRSA, [0x00, 0x01], [0, 3, 0, 0xb2], 32, 314),
            (.endorsementP256, [0x00, 0x23], [0, 3, 0, 0xb2], 32, 122),
            (.storageRSA, [0x00, 0x01], [0, 3, 4, 0x72], 0, 282),
        ] as [(StandardKey, [UInt8], [UInt8], Int, Int)] {
            let template = key.template
            #expect(template.count == size, "\(key)")
            #expect(Array(template.prefix(8)) == type + [0, 0x0b] + attributes)
            #expect(Array(template[8..<10]) == [0, UInt8(policySize)])
            #expect(template.suffix(template.count - key.head.count).allSatisfy { $0 == 0 || $0 == 1 || $0 == 32 })
        }
    }

    @Test func aCommandsSizeIsThatOfItsBytes() {
        for key in StandardKey.allCases {
            for command in [
                TPMCommand.createPrimary(key), TPMCommand.keep(0x8000_0000, at: key.handle),
                TPMCommand.flush(0x8000_0000), TPMCommand.firstHandle(from: key.handle),
            ] { #expect(Int(command[4]) << 8 | Int(command[5]) == command.count, "\(key)") }
        }
    }

    @Test func aResponseIsReadNoFurtherThanItGoes() {
        let handles: [UInt8] = [0x80, 1, 0, 0, 0, 23, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0x81, 1, 0, 1]
        #expect(handles.withUnsafeBytes { TPMCommand.firstHandle(in: $0) } == 0x8101_0001)
        for size in 0..<handles.count {
            #expect(handles.prefix(size).withUnsafeBytes { TPMCommand.firstHandle(in: $0) } == nil, "\(size)")
        }
        let created: [UInt8] = [0x80, 2, 0, 0, 0, 14, 0, 0, 0, 0, 0x80, 0, 0, 0]
        #expect(created.withUnsafeBytes { TPMCommand.createdHandle(in: $0) } == 0x8000_0000)
        for size in 0..<created.count {
            #expect(created.prefix(size).withUnsafeBytes { TPMCommand.createdHandle(in: $0) } == nil, "\(size)")
        }
        #expect([0x80, 1, 0, 0, 0, 10, 0, 0, 1, 0x4b].withUnsafeBytes { TPMCommand.createdHandle(in: $0) } == nil)
    }

    @Test func aSetKnowsWhichBitsStandForKeys() {
        #expect(StandardKeys.all.elements == StandardKey.allCases)
        #expect(StandardKeys(rawValue: 0b101).elements == [.endorsementRSA, .storageRSA])
        #expect(StandardKeys.all.isKnown && !StandardKeys(rawValue: 8).isKnown)
    }
}
