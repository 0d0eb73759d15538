import Platform
import Testing
import VTPMProxy

@Suite struct TPMCommandTests {
    @Test func answerIsAHeaderWithTheCode() {
        #expect(TPMCommand.response(code: TPMCommand.failure) == [0x80, 0x01, 0, 0, 0, 10, 0, 0, 1, 1])
        #expect(TPMCommand.response(code: 0) == [0x80, 0x01, 0, 0, 0, 10, 0, 0, 0, 0])
        #expect(TPMCommand.response(code: 0x9abc_def0).suffix(4) == [0x9a, 0xbc, 0xde, 0xf0])
    }

    @Test(arguments: [TPMCommand.startupClear, TPMCommand.shutdownClear, TPMCommand.disablePlatformHierarchy])
    func commandsSayTheirSize(command: [UInt8]) {
        #expect(command[2..<6].reduce(0) { $0 << 8 | Int($1) } == command.count)
    }

    @Test(arguments: [
        ([0x80, 0x02, 0, 0, 0, 11, 0x20, 0, 0x10, 0, 0] as [UInt8], UInt8?.some(0)),
        ([0x80, 0x02, 0, 0, 0, 11, 0x20, 0, 0x10, 0, 4], UInt8?.some(4)),
        // Locality 5 does not exist.
        ([0x80, 0x02, 0, 0, 0, 11, 0x20, 0, 0x10, 0, 5], UInt8?.none),
        // Too short, too long, another command.
        ([0x80, 0x02, 0, 0, 0, 11, 0x20, 0, 0x10, 0], UInt8?.none),
        ([0x80, 0x02, 0, 0, 0, 11, 0x20, 0, 0x10, 0, 0, 0], UInt8?.none),
        ([0x80, 0x01, 0, 0, 0, 12, 0, 0, 0x01, 0x7b, 0], UInt8?.none),
        ([], UInt8?.none),
    ])
    func localityRequestOfTheKernel(command: [UInt8], expected: UInt8?) {
        let locality = command.withUnsafeBytes { TPMCommand.requestedLocality(in: $0) }
        #expect(locality == expected)
    }

    @Test func responseCodeNeedsAHeader() {
        let answer = TPMCommand.response(code: 0x922)
        for count in 0..<10 {
            #expect(Array(answer[..<count]).withUnsafeBytes { TPMCommand.responseCode(of: $0) } == nil)
        }
        #expect(answer.withUnsafeBytes { TPMCommand.responseCode(of: $0) } == 0x922)
    }
}

@Suite struct DeviceNumberTests {
    @Test(arguments: [
        ("10:224", 10 as UInt32, 224 as UInt32), ("253:65536", 253, 65536), ("0:0", 0, 0),
        ("4095:1048575", 4095, 1_048_575),
    ])
    func parses(text: String, major: UInt32, minor: UInt32) throws {
        let number = try #require(DeviceNumber(text))
        #expect(number == DeviceNumber(major: major, minor: minor))
        #expect(number.description == text)
        // The minor number of a resource manager's device does not fit into the old 8 bits.
        #expect(DeviceNumber(number.raw) == number)
    }

    @Test(arguments: [
        "", ":", "10", "10:", ":224", "10:224:1", "-1:2", " 10:224", "4096:0", "0:1048576", "a:b", "10:224\n",
    ])
    func refuses(text: String) {
        #expect(DeviceNumber(text) == nil)
    }
}
