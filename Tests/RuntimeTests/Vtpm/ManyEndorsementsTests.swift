import Foundation
import Glibc
import Platform
import RuntimeAdministration
import RuntimeControl
import RuntimeEndorsement
import TestSupport
import Testing
import VTPMProxy

/// No two TPMs of a host have a key, a serial number or a UUID in common, also of those that are made at the same time.
@Suite struct ManyEndorsementsTests {
    private static let isSoak = ProcessInfo.processInfo.environment["CONTAINER_VTPM_SOAK"] != nil
    private static let total = isSoak ? 1000 : 12
    private static let atOnce = isSoak ? 32 : 6

    /// The serial number: after the version in a TBSCertificate of 256 bytes and more. RFC 5280, 4.1
    private func serialNumber(of certificate: [UInt8]) throws -> [UInt8] {
        try #require(certificate.count > 40 && certificate[8..<14].elementsEqual([0xa0, 3, 2, 1, 2, 2]))
        return Array(certificate[15..<15 + Int(certificate[14])])
    }

    @Test func eachTPMIsItsOwn() throws {
        let temporary = try TemporaryDirectory()
        var keys: Set<[UInt8]> = [], serials: Set<[UInt8]> = [], instances: Set<[UInt8]> = []
        for first in stride(from: 0, to: Self.total, by: Self.atOnce) {
            let names = (first..<min(first + Self.atOnce, Self.total)).map { "web-\($0)" }
            let all = try names.map {
                try VTPMUnderTest(
                    in: temporary,
                    stateID: $0,
                    tpmKeys: EndorsementTests.all,
                    endorsement: .certificates
                )
            }
            for tpm in all { try tpm.create() }
            for tpm in all { #expect(try tpm.stop() == .exited(0)) }
            let repository = try EndorsementTests.repository(in: temporary)
            for name in names {
                let record = try #require(try repository.endorsement(of: name))
                #expect(record.level == .certificates)
                instances.insert(record.instance)
                for key in record.keys {
                    keys.insert(key.area)
                    serials.insert(try serialNumber(of: key.certificate))
                }
            }
        }
        #expect(instances.count == Self.total)
        #expect(keys.count == 2 * Self.total && serials.count == 2 * Self.total)
        // 160 bits, the first of which is zero.
        #expect(serials.allSatisfy { $0.count == 20 && $0[0] & 0x80 == 0 })
    }
}
