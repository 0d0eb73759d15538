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

    private func shell(_ command: String) throws {
        let status = try ProgramLaunch("/bin/sh", ["sh", "-c", "cd '\(folder.path)' && \(command)"]).start().wait()
        try #require(status == .exited(0), "\(command)")
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
        let parts = try String(contentsOfFile: cached, encoding: .utf8).split(separator: " ")
        #expect(parts.count == 3 && parts[1] == hex(first))
        let text = "\(parts[0]) \(String(repeating: "5a", count: 32))"
        let check = hex(Array(try DigestAlgorithm.sha256.digest(Array(text.utf8)).prefix(8)))
        try "\(text) \(check)\n".write(toFile: cached, atomically: false, encoding: .utf8)
        #expect(try digest() == [UInt8](repeating: 0x5a, count: 32))
        // Without its check the line knows nothing: parts of two lines may stand side by side.
        try "\(text) \(parts[2])".write(toFile: cached, atomically: false, encoding: .utf8)
        #expect(try digest() == first)
    }

    /// Who cannot have the cache has each digest all the same.
    @Test func itIsOnlyAHelp() throws {
        try write("a")
        let right = try DigestAlgorithm.sha256.digest(Array("a".utf8))
        let held = DigestCache(in: runDirectory)
        #expect(try digest() == right)
        withExtendedLifetime(held) {}
        try FileManager.default.removeItem(atPath: cached)
        try FileManager.default.createDirectory(atPath: cached, withIntermediateDirectories: false)
        #expect(try digest() == right)
    }

    @Test func aFileThatWasChangedIsReadAgain() throws {
        try write("a")
        _ = try digest()
        try shell("touch -r program reference && stat -c %y program >before")
        try write("b")
        // Who sets the time of the last write back cannot do so with that of the last change.
        try shell("touch -r reference program && stat -c %y program | cmp - before")
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
    /// Whether this process may open what is in its own memory, which takes CAP_SYS_ADMIN or CAP_CHECKPOINT_RESTORE. proc(5)
    static let mayOpenMaps: Bool = {
        guard let maps = try? Procfs().read("self/maps"),
            let range = RunningPrograms.firstMap(of: "libcrypto.so", in: String(decoding: maps, as: UTF8.self))
        else { return false }
        return (try? Descriptor.openFile("/proc/self/map_files/\(range)", .read)) != nil
    }()

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

    /// What cannot be read is left out, and nothing else.
    @Test(.enabled(if: mayOpenMaps, "needs CAP_SYS_ADMIN")) func aLibraryThatIsNotThereIsLeftOut() throws {
        let folder = try ScratchFolder()
        let runDirectory = try Descriptor.open(folder.path, .directory)
        // A process that has neither library.
        let sleeping = try ProgramLaunch("/bin/sleep", ["sleep", "1000"]).start()
        let without = RunningPrograms(supervisor: getpid(), worker: sleeping.process).digests(cachedIn: runDirectory)
        // One that nobody waits for would keep the exit tests of others from seeing theirs. waitid(2), WNOWAIT
        _ = try sleeping.end()
        #expect(Set(without.keys) == ["vtpm-hook", "vtpm-supervisor", "vtpm-worker"])
        let own = RunningPrograms(supervisor: getpid(), worker: getpid()).digests(cachedIn: runDirectory)
        #expect(Set(own.keys).isSuperset(of: ["vtpm-hook", "vtpm-supervisor", "vtpm-worker", "libcrypto"]))
        #expect(own["vtpm-hook"]?.count == 32 && own["vtpm-hook"] == own["vtpm-worker"])
        #expect(own["libcrypto"] != own["vtpm-hook"])
        // A process that is gone.
        let gone = RunningPrograms(supervisor: getpid(), worker: 1 << 22).digests(cachedIn: runDirectory)
        #expect(Set(gone.keys) == ["vtpm-hook", "vtpm-supervisor"])
        #expect(gone["vtpm-hook"] == own["vtpm-hook"])
    }

    /// This process stands for the worker; it has libcrypto, and no libtpms.
    @Test(.enabled(if: mayOpenMaps, "needs CAP_SYS_ADMIN")) func theKernelLeadsToTheFiles() throws {
        let maps = String(decoding: try Procfs().read("self/maps"), as: UTF8.self)
        let range = try #require(RunningPrograms.firstMap(of: "libcrypto.so", in: maps))
        let opened = try Descriptor.openFile("/proc/self/map_files/\(range)", .read)
        let line = try #require(maps.split(separator: "\n").first { $0.contains("libcrypto.so") })
        let path = String(line[try #require(line.firstIndex(of: "/"))...])
        let folder = try ScratchFolder()
        let cache = try DigestCache(in: .open(folder.path, .directory))
        let found = try cache.digest(of: opened, named: "the library")
        #expect(try found == cache.digest(of: .openFile(path, .read), named: "the library"))
        // It is known by what it is, and not by its path.
        let lines = try String(contentsOfFile: "\(folder.path)/\(DigestCache.name)", encoding: .utf8)
        #expect(lines.split(separator: "\n").count == 1)
    }
}
