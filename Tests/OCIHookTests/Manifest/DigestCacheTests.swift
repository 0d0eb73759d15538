import CLinux
import CryptoDigests
import Foundation
import Platform
import Testing

@testable import OCIHook

/// What the hook remembers of the programs' files.
final class DigestCacheTests {
    private let folder: ScratchFolder
    private let runDirectory: Descriptor

    init() throws {
        folder = try ScratchFolder()
        runDirectory = try .open(folder.path, .directory)
    }

    private var path: String { "\(folder.path)/program" }
    private var cached: String { "\(folder.path)/\(DigestCache.name)" }

    private func write(_ text: String) throws { try text.write(toFile: path, atomically: false, encoding: .utf8) }

    private func digest() throws -> [UInt8] {
        try DigestCache(in: runDirectory).digest(of: .openFile(path, .read), named: "program")
    }

    @Test func theDigestIsThatOfTheFile() throws {
        // More than is read at once.
        let text = String(repeating: "a", count: 600_001)
        try write(text)
        #expect(try digest() == DigestAlgorithm.sha256.digest(Array(text.utf8)))
        #expect(try digest() == DigestAlgorithm.sha256.digest(Array(text.utf8)))
    }

    /// What is known is not computed again: a digest that only stands in the cache is told.
    @Test func itIsRemembered() throws {
        try write("a")
        let first = try digest()
        let line = try String(contentsOfFile: cached, encoding: .utf8)
        let (known, other) = (hex(first), String(repeating: "5a", count: 32))
        try line.replacing(known, with: other).write(toFile: cached, atomically: false, encoding: .utf8)
        #expect(try digest() == [UInt8](repeating: 0x5a, count: 32))
    }

    @Test func aFileThatWasChangedIsReadAgain() throws {
        try write("a")
        _ = try digest()
        let before = try FileManager.default.attributesOfItem(atPath: path)[.modificationDate]
        try write("b")
        // Who sets the time of the last write back cannot do so with that of the last change.
        try FileManager.default.setAttributes([.modificationDate: try #require(before)], ofItemAtPath: path)
        #expect(try digest() == DigestAlgorithm.sha256.digest(Array("b".utf8)))
    }

    @Test(arguments: ["", "x", "\n\n", String(repeating: "x", count: 200_000)])
    func whatIsNoLineOfOursKnowsNothing(content: String) throws {
        try write("a")
        let right = try digest()
        let line = try String(contentsOfFile: cached, encoding: .utf8)
        let half = String(line.prefix(line.count - 20))
        for text in [content, content + half, half] {
            try text.write(toFile: cached, atomically: false, encoding: .utf8)
            #expect(try digest() == right)
        }
    }

    private func hex(_ bytes: [UInt8]) -> String {
        bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    }
}

/// Which files a vTPM's processes have open.
struct RunningProgramsTests {
    @Test func aLibraryIsFoundByItsName() {
        let maps = """
            00400000-00401000 r-xp 00000000 fe:01 17 /usr/libexec/container-vtpm/vtpm-worker
            7f00-7f80 r--p 00000000 fe:01 18 /opt/libtpms.so/a directory/libc.so.6
            7f1200000000-7f1200020000 rw-p 00000000 00:00 0
            7f3456000000-7f3456010000 r--p 00000000 fe:01 19 /usr/lib/x86_64 linux/libtpms.so.0.9.2
            7f3456010000-7f3456020000 r-xp 00010000 fe:01 19 /usr/lib/x86_64 linux/libtpms.so.0.9.2
            """
        #expect(RunningPrograms.firstMap(of: "libtpms.so", in: maps) == "7f3456000000-7f3456010000")
        #expect(RunningPrograms.firstMap(of: "vtpm-worker", in: maps) == "400000-401000")
        #expect(RunningPrograms.firstMap(of: "libcrypto.so", in: maps) == nil)
    }

    /// This process stands for the worker; it has libcrypto, and no libtpms.
    @Test func theKernelLeadsToTheFiles() throws {
        let maps = try String(contentsOfFile: "/proc/self/maps", encoding: .utf8)
        let range = try #require(RunningPrograms.firstMap(of: "libcrypto.so", in: maps))
        let opened = try Descriptor.openFile("/proc/self/map_files/\(range)", .read)
        let line = try #require(maps.split(separator: "\n").first { $0.contains("libcrypto.so") })
        let path = String(line[try #require(line.firstIndex(of: "/"))...])
        #expect(try opened.status("it").st_ino == Descriptor.openFile(path, .read).status("it").st_ino)
    }
}
