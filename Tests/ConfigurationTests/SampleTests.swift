import Glibc
import Platform
import RuntimeControl
import Testing

@testable import Configuration

/// `hooks/config.toml`, which is installed for the operator to start from.
@Suite struct SampleTests {
    let sample: [Substring]

    init() throws {
        let path = "\(#filePath)".split(separator: "/").dropLast(3).map { "/\($0)" }.joined() + "/hooks/config.toml"
        let bytes = try Descriptor.open(path, .read).readAll(limit: Configuration.sizeLimit, path)
        sample = try #require(String(validating: bytes, as: UTF8.self)).split(
            separator: "\n",
            omittingEmptySubsequences: false
        )
    }

    /// The key of a line such as `#timeout = 10`: prose has a blank after the `#`.
    func key(_ line: Substring) -> String? {
        guard line.hasPrefix("#"), let name = line.dropFirst().split(separator: "=").first, line.contains(" = ") else {
            return nil
        }
        return name.contains { $0 != "-" && $0 != " " && !$0.isLetter } || name.hasPrefix(" ")
            ? nil : String(name.dropLast())
    }

    /// All keys uncommented, but for those of other sources than this one; `[key.next]` is left to its own test.
    func uncommented(source: String) -> String {
        let others = Configuration.Key.Source.allCases.filter { $0.rawValue != source }.flatMap(\.names)
        let end = sample.firstIndex(of: "#[key.next]") ?? sample.endIndex
        let resume = sample.firstIndex(of: "[host-tpm]") ?? sample.endIndex
        return (sample[..<end] + sample[resume...]).map { line in
            switch key(line) {
            case "source": "source = \"\(source)\""
            // The default of the keys beside it has no use for it.
            case "bundles": String(line)
            // The authority has a key in place of it.
            case "command" where line.contains("openssl-signer"): String(line)
            case "timeout" where line.hasSuffix(" 20"): String(line)
            case let name? where !others.contains(name): String(line.dropFirst())
            default: String(line)
            }
        }.joined(separator: "\n")
    }

    @Test func asItIsItMeansTheDefaults() throws {
        #expect(try parse(sample.joined(separator: "\n")) == Configuration())
    }

    @Test func itShowsTheDefaults() throws {
        var expected = Configuration()
        // The keys without a default: the group of the process, how long states are kept, who certifies, and what is found on the host.
        expected.retention.unusedFor = 90 * 86_400
        expected.device.group = .name("tss")
        expected.authority.files = .init(
            key: "/etc/container-vtpm/authority.key",
            certificates: "/etc/container-vtpm/authority.pem"
        )
        expected.authority.listURL = "http://example.org/host-ca.crl"
        expected.manufacture.platform = PlatformName(manufacturer: "Example", model: "Edge 5", version: "1")
        expected.hostTPM.device = "/dev/tpmrm0"
        expected.runtime.path = "/usr/sbin/runc"
        #expect(try parse(uncommented(source: "file")) == expected)
    }

    @Test(arguments: [
        ("file", Configuration.Key.file(path: Configuration.Key.standardFile)),
        ("credential", .credential(name: "container-vtpm.key", directory: "/run/credentials/containerd.service")),
        ("command", .command(["/usr/local/sbin/vtpm-key", "--host"], timeout: 10)),
        ("host-tpm", .hostTPM),
    ])
    func itParsesWithEachSource(source: String, key: Configuration.Key) throws {
        #expect(try parse(uncommented(source: source)).key == key)
    }

    @Test func itsNextKeyParses() throws {
        let start = try #require(sample.firstIndex(of: "#[key.next]"))
        let end = try #require(sample.firstIndex(of: "[host-tpm]"))
        let text = sample[start..<end].map { $0.dropFirst() }.joined(separator: "\n")
        #expect(try parse(text).nextKey == .file(path: "/var/lib/container-vtpm/keys/next.key"))
    }

    /// Everything uncommented gives every source's keys, which no configuration may.
    @Test func withAllKeysItSaysWhichIsNotUsed() throws {
        let text = sample.filter { key($0) != "bundles" && !$0.contains("openssl-signer") && !$0.hasSuffix(" 20") }.map
        {
            key($0) != nil || $0 == "#[key.next]" ? $0.dropFirst() : $0
        }.joined(separator: "\n")
        #expect(try refusal(text).contains("is not used by the source \"file\""))
    }
}
