import Glibc
import Platform

/// Test fixture: a program that is linked with room between its segments, and puts pages there, as mmap(2) can.
///
/// It ends with the number of these pages if they are as they were once the pages of its start are given back, else with 255.
@main struct ProgramWithGaps {
    static func main() {
        do {
            let pages = try gaps().map { put(at: $0) }
            Hardening.releaseStartupPages()
            let kept = pages.filter { page in
                (0..<pageSize).allSatisfy { page.load(fromByteOffset: $0, as: UInt8.self) == 0x5a }
            }
            exit(kept.count == pages.count ? CInt(min(kept.count, 100)) : 255)
        } catch {
            exit(255)
        }
    }

    private static let pageSize = sysconf(CInt(_SC_PAGESIZE))

    /// The addresses of the pages between the first and the last one of the program's own file that nothing is mapped at.
    private static func gaps() throws(Failure) -> [Int] {
        let path = "/proc/self/maps"
        let text = String(decoding: try Descriptor.open(path, .read).readAll(limit: 1 << 20, path), as: UTF8.self)
        var mapped: [Range<Int>] = []
        for line in text.split(separator: "\n") where line.hasSuffix("/ProgramWithGaps") {
            let ends = line.prefix { $0 != " " }.split(separator: "-").compactMap { Int($0, radix: 16) }
            if ends.count == 2 { mapped.append(ends[0]..<ends[1]) }
        }
        var gaps: [Int] = []
        for (one, next) in zip(mapped, mapped.dropFirst()) {
            gaps += stride(from: one.upperBound, to: next.lowerBound, by: pageSize)
        }
        return gaps
    }

    private static func put(at address: Int) -> UnsafeMutableRawPointer {
        let wanted = UnsafeMutableRawPointer(bitPattern: address)
        let flags = MAP_PRIVATE | MAP_ANONYMOUS | CInt(MAP_FIXED_NOREPLACE)
        guard let page = mmap(wanted, pageSize, PROT_READ | PROT_WRITE, flags, -1, 0), page == wanted,
            mlock(page, pageSize) == 0
        else { exit(255) }
        page.initializeMemory(as: UInt8.self, repeating: 0x5a, count: pageSize)
        return page
    }
}
