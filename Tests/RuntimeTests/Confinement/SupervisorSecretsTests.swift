import Glibc
import Platform
import Testing

/// What a supervisor still has in its memory once its container runs, for whoever takes it over.
@Suite struct SupervisorSecretsTests {
    @Test func theMasterKeyIsGone() throws {
        let temporary = try TemporaryDirectory()
        let tpm = try VTPMUnderTest(in: temporary, keys: [0xa7])
        try tpm.create()
        let memory = try writableMemory(of: tpm.supervisor.process)
        // What it does keep is found: so would be the key.
        #expect(memory.contains { contains($0, Array("container-web".utf8)) })
        #expect(!memory.contains { contains($0, [UInt8](repeating: 0xa7, count: 32)) })
        try tpm.stop()
    }

    /// What the process may change. proc(5), `/proc/PID/maps`, `/proc/PID/mem`
    private func writableMemory(of process: pid_t) throws -> [[UInt8]] {
        let maps = try Descriptor.open("/proc/\(process)/maps", .read).readAll(limit: 1 << 20, "the map")
        let memory = try Descriptor.open("/proc/\(process)/mem", .read)
        var parts: [[UInt8]] = []
        for line in String(decoding: maps, as: UTF8.self).split(separator: "\n") {
            guard let match = line.firstMatch(of: /^(\w+)-(\w+) rw/), let start = Int(match.1, radix: 16),
                let end = Int(match.2, radix: 16)
            else { continue }
            var part = [UInt8](repeating: 0, count: end - start)
            let count = pread(memory.number, &part, part.count, start)
            parts.append(Array(part.prefix(max(count, 0))))
        }
        return parts
    }

    private func contains(_ memory: [UInt8], _ pattern: [UInt8]) -> Bool {
        memory.withUnsafeBytes { memory in
            var start = 0
            while start + pattern.count <= memory.count, let base = memory.baseAddress,
                let found = memchr(base + start, CInt(pattern[0]), memory.count - start)
            {
                let offset = UnsafeRawPointer(found) - base
                guard offset + pattern.count <= memory.count else { return false }
                if memcmp(found, pattern, pattern.count) == 0 { return true }
                start = offset + 1
            }
            return false
        }
    }
}
