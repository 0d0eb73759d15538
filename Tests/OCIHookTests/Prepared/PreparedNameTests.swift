import Platform
import Testing
import VTPMProxy

@testable import OCIHook

/// What `config.json` calls a vTPM that was prepared.
@Suite struct PreparedNameTests {
    private static let token = "000102030405060708090a0b0c0d0e0f"
    private static let devices = [DeviceNumber(major: 10, minor: 224), DeviceNumber(major: 253, minor: 65536)]

    @Test func `a name comes back as it was`() throws {
        let name = try PreparedName(of: Self.devices)
        #expect(PreparedName(name.text) == name)
        #expect(name.text.hasSuffix("/10:224/253:65536") && name.text.utf8.count == 32 + 17)
        // Nobody can guess the token, and none comes twice.
        #expect(try PreparedName(of: Self.devices).token != name.token)
    }

    @Test func `a text is read`() throws {
        let name = try #require(PreparedName("\(Self.token)/10:224/253:65536"))
        #expect(name.token == Array(0..<16))
        #expect(name.devices == Self.devices)
    }

    @Test(arguments: [
        "", "/", "//", token, "\(token)/10:224", "\(token)/10:224/253:65536/", "/10:224/253:65536",
        "\(token)/10:224/253:65536/1:1", "\(token)//253:65536", "\(token)/10:224/253", "\(token)/10:224/a:1",
        "\(token)/10:224/4096:1", "\(token)/10:224/1:1048576", "\(token)/-1:224/1:1", "\(token)/10:224/99999999999:1",
        "\(token.dropLast())/10:224/253:65536", "\(token)0/10:224/253:65536", "\(token)00/10:224/253:65536",
        "\(token.dropLast())g/10:224/253:65536", "\(token.dropLast())ü/10:224/253:65536", " \(token)/10:224/253:65536",
    ])
    func `anything else is no name`(text: String) {
        #expect(PreparedName(text) == nil)
    }
}
