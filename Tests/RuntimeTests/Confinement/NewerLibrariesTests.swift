import Glibc
import Platform
import RuntimeControl
import Testing

/// What libraries may do that are newer than those of this machine is no worker's end: it is refused, and they do without.
@Suite(.serialized) struct NewerLibrariesTests {
    let temporary: TemporaryDirectory

    init() throws {
        temporary = try TemporaryDirectory()
    }

    /// What is answered with something else than ENOSYS, which every library takes for an older kernel.
    static let otherAnswers: [String: CInt] = [
        "openat": ENOENT, "ioctl TCGETS": ENOTTY, "ioctl TCGETS2": ENOTTY, "malloc of 4 MiB": 0, "dprintf": 0,
    ]
    static let attempts = HostileWorkerTests.orders(from: 0xa400)

    /// Tunables that have glibc 2.35 and later ask for huge pages: what AArch64 does by itself from 2.43 on. ld.so(8)
    static let tunables = ["", "glibc.malloc.hugetlb=1", "glibc.malloc.hugetlb=2"]

    @Test(arguments: tunables) func whatALibraryTriesIsNotTheEnd(_ tunables: String) throws {
        #expect(Self.attempts.count > 40)
        let tpm = try start(HostileWorkerTests.program, tunables)
        for attempt in Self.attempts {
            let expected = 0x0010_0000 | UInt32(Self.otherAnswers[attempt.name] ?? ENOSYS)
            let answer = try tpm.transmit(attempt.command)
            #expect(answer.count == 10, "\(attempt.name)")
            #expect(answer.suffix(4).reduce(0) { $0 << 8 | UInt32($1) } == expected, "\(attempt.name)")
        }
        #expect(try tpm.status().health == .serving)
        #expect(try tpm.transmit(getRandom).count == 20)
        #expect(try tpm.stop() == .exited(0))
    }

    /// The real worker and the real supervisor, with a state that is written, and a key that takes memory.
    @Test(arguments: tunables.dropFirst()) func theRealProgramsLive(_ tunables: String) throws {
        let tpm = try start(VTPMUnderTest.program("vtpm-worker"), tunables)
        #expect(try tpm.environment(of: tpm.supervisor.process).contains("GLIBC_TUNABLES=\(tunables)"))
        try tpm.run("tpm2_createprimary -Q -C o -G rsa2048 -c p.ctx && tpm2_nvdefine -Q 0x1500001 -C o -s 2000")
        try tpm.run("head -c 2000 /dev/zero >zeros && tpm2_nvwrite -Q 0x1500001 -C o -i zeros")
        #expect(try tpm.status().health == .serving)
        #expect(try tpm.stop() == .exited(0))
    }

    /// The programs ask for none of it by themselves, whatever the C library's default is.
    @Test func noHugePagesAreAskedFor() throws {
        let tpm = try VTPMUnderTest(in: temporary)
        try tpm.create()
        for process in [tpm.supervisor.process, tpm.worker] {
            // glibc 2.36 cuts the value where it reads it, at each colon (elf/dl-tunables.c, `parse_tunables`).
            let environment = try tpm.environment(of: process).joined(separator: ":")
            #expect(environment.contains("GLIBC_TUNABLES=glibc.malloc.hugetlb=0:glibc.malloc.tcache_count=0"))
        }
        try tpm.stop()
    }

    /// A vTPM whose programs are started with tunables; the worker's by a shell, since the supervisor sets its own.
    private func start(_ worker: String, _ tunables: String) throws -> VTPMUnderTest {
        let script = "#!/bin/sh\nexport GLIBC_TUNABLES=\(tunables)\nexec '\(worker)' vtpm-worker\n"
        try temporary.write("worker", Array(script.utf8))
        chmod("\(temporary.path)/worker", 0o755)
        let environment = ["GLIBC_TUNABLES=\(tunables)"]
        let tpm = try VTPMUnderTest(in: temporary, worker: "\(temporary.path)/worker", environment: environment)
        try tpm.create()
        return tpm
    }
}

extension VTPMUnderTest {
    /// What a process was started with. proc(5), `/proc/PID/environ`
    func environment(of process: pid_t) throws -> [String] {
        let content = try Descriptor.open("/proc/\(process)/environ", .read).readAll(limit: 65536, "the environment")
        return content.split(separator: 0).map { String(decoding: $0, as: UTF8.self) }
    }
}
