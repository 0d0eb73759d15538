import Glibc
import Platform
import RuntimeControl
import Testing

@Suite struct ScratchBufferTests {
    /// The flags of the mapping that an address is in, as the kernel has them: `lo` locked, `dd` left out of core dumps.
    private func flags(of address: UnsafeMutableRawPointer?) throws -> [Substring] {
        let wanted = UInt(bitPattern: address)
        let text = try Descriptor.open("/proc/self/smaps", .read).readAll(limit: 1 << 26, "smaps")
        var isInside = false
        for line in String(decoding: text, as: UTF8.self).split(separator: "\n") {
            if let range = line.split(separator: " ").first, range.contains("-") {
                let ends = range.split(separator: "-").map { UInt($0, radix: 16) ?? 0 }
                isInside = ends.count == 2 && ends[0] <= wanted && wanted < ends[1]
            } else if isInside, line.hasPrefix("VmFlags:") {
                return line.split(separator: " ")
            }
        }
        return []
    }

    @Test func whatKeysAndStatesComeThroughIsLocked() throws {
        let buffer = try Channel.makeSecretBuffer()
        #expect(buffer.size == Channel.messageLimit)
        let found = try flags(of: buffer.withBytes { $0.baseAddress })
        #expect(found.contains("lo") && found.contains("dd"), "\(found)")
        // The check can tell.
        let other = Channel.makeBuffer()
        #expect(try !flags(of: other.withBytes { $0.baseAddress }).contains("lo"))
    }
}
