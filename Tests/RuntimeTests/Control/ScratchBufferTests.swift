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
        buffer.write { _ in 1 }
        let found = try flags(of: buffer.withBytes { $0.baseAddress })
        #expect(found.contains("lo") && found.contains("dd"), "\(found)")
        // The check can tell.
        let other = Channel.makeBuffer()
        other.write { _ in 1 }
        #expect(try !flags(of: other.withBytes { $0.baseAddress }).contains("lo"))
    }

    @Test func aBufferForLongMessagesTakesNoMoreThanShortOnesNeed() throws {
        let buffer = try Channel.makeSecretBuffer()
        buffer.write { memory in
            memory[0] = 1
            return 1
        }
        let page = Int(sysconf(CInt(_SC_PAGESIZE)))
        var present = [UInt8](repeating: 0, count: Channel.messageLimit / page)
        #expect(mincore(buffer.withBytes { $0.baseAddress }, Channel.messageLimit, &present) == 0)
        #expect(present.map { $0 & 1 } == [1] + [UInt8](repeating: 0, count: present.count - 1))
    }

    @Test func whatWasWrittenIsShownUntilItIsWiped() {
        let buffer = ScratchBuffer(size: 8)
        #expect(buffer.withBytes { $0.count } == 0)
        #expect(buffer.write { _ in -1 } == -1)
        #expect(buffer.withBytes { $0.count } == 0)
        var address: UnsafeMutableRawPointer?
        for (text, shown) in [("longer", "longer"), ("less", "lesser")] {
            buffer.write { memory in
                memory.copyBytes(from: text.utf8)
                return text.utf8.count
            }
            buffer.withBytes { bytes in
                #expect(String(decoding: bytes, as: UTF8.self) == shown)
                address = bytes.baseAddress
            }
        }
        buffer.wipe()
        #expect(buffer.withBytes { $0.count } == 0)
        buffer.write { memory in
            #expect(memory.baseAddress == address && memory.prefix(6).allSatisfy { $0 == 0 })
            return 0
        }
    }
}
