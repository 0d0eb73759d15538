import Glibc
import Testing

@testable import Platform

/// What a program gives back once it has started: pages of its own file, and nothing that lies among them.
@Suite struct StartupPagesTests {
    /// A mapping of this process: its addresses, its permissions, and its file.
    private struct Mapping {
        let addresses: Range<Int>
        let permissions: String
        let file: String

        init?(_ line: some StringProtocol) {
            let fields = line.split(separator: " ", omittingEmptySubsequences: true)
            let ends = fields[0].split(separator: "-").compactMap { Int($0, radix: 16) }
            guard ends.count == 2, fields.count >= 6 else { return nil }
            (addresses, permissions, file) = (ends[0]..<ends[1], String(fields[1]), String(fields[5]))
        }
    }

    @Test func eachIsAPageOfTheProgramThatNobodyWrites() throws {
        let path = "/proc/self/maps"
        let text = String(decoding: try Descriptor.open(path, .read).readAll(limit: 1 << 24, path), as: UTF8.self)
        let mappings = text.split(separator: "\n").compactMap { Mapping($0) }
        let program = try Procfs().link("self/exe")
        let pages = Hardening.ownPages()
        #expect(pages.count >= 2)
        for range in pages {
            let mapping = try #require(mappings.first { $0.addresses.contains(range.lowerBound) }, "\(range)")
            #expect(mapping.addresses.contains(range.upperBound - 1), "\(range) goes beyond \(mapping)")
            #expect(mapping.file == program && !mapping.permissions.contains("w"), "\(mapping)")
        }
        // The code is among them.
        #expect(
            pages.contains { range in mappings.contains { $0.addresses.overlaps(range) && $0.permissions == "r-xp" } }
        )
    }

    /// mmap(2) puts a key where there is room between two segments.
    @Test func whatLiesBetweenSegmentsStays() throws {
        let program = VTPMUnderTest.built("ProgramWithGaps")
        let status = try ProgramLaunch(program, ["ProgramWithGaps"]).start().wait()
        guard case .exited(let kept) = status else { throw Failure("no pages", because: "\(status)") }
        // It is linked so that there are some.
        #expect(kept > 0 && kept <= 100, "\(status)")
    }
}
