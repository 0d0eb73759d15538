import CLinux
import Glibc
import Platform
import RuntimeControl
import Testing

@testable import RuntimeConfinement

/// What the kernel says of a real worker and a real supervisor while they serve.
@Suite(.serialized) struct ConfinementTests {
    let temporary: TemporaryDirectory

    init() throws {
        temporary = try TemporaryDirectory()
    }

    func start() throws -> VTPMUnderTest {
        let tpm = try VTPMUnderTest(in: temporary)
        try tpm.create()
        return tpm
    }

    @Test func theWorkerHasNothing() throws {
        let tpm = try start()
        try WorkerInspection.require(tpm.worker, confinedAs: WorkerUser(of: tpm.worker), isServing: true)
        let descriptors = try entries(of: .open("/proc/\(tpm.worker)/fd", .directory), "descriptors")
        // Standard descriptors on /dev/null, the channel, the init's pidfd, the device.
        #expect(descriptors.count == 6)
        #expect(try Descriptor.open("/proc/\(tpm.worker)/status", .read).status("status").st_uid == 0, "dumpable")
        let limits = try text("/proc/\(tpm.worker)/limits")
        for limit in ["Max core file size 0 0", "Max processes 1 1", "Max open files 8 8", "Max file size 0 0"] {
            #expect(limits.contains(limit), "\(limit)")
        }
        #expect(try text("/proc/\(tpm.worker)/oom_score_adj") == "0 ")
        try tpm.stop()
    }

    @Test func twoWorkersAreTwoUsers() throws {
        let one = try start()
        let other = try VTPMUnderTest(in: temporary, stateID: "other")
        try other.create()
        #expect(try Procfs().status(of: one.worker)["Uid"] != Procfs().status(of: other.worker)["Uid"])
        try one.stop()
        try other.stop()
    }

    @Test func theSupervisorKeepsTwoCapabilities() throws {
        let tpm = try start()
        let status = try Procfs().status(of: tpm.supervisor.process)
        let mask = UInt64(1) << UInt64(CAP_KILL) | UInt64(1) << UInt64(CAP_IPC_LOCK)
        for field in ["CapPrm", "CapEff", "CapBnd"] {
            #expect(status[field].flatMap { UInt64($0, radix: 16) } == mask, "\(field)")
        }
        #expect(status["CapInh"] == "0000000000000000" && status["CapAmb"] == "0000000000000000")
        #expect(status["NoNewPrivs"] == "1" && status["Seccomp"] == "2" && status["Threads"] == "1")
        try tpm.stop()
    }

    /// A process that has given nothing up is found; each check by itself was tried by taking its step out.
    @Test func aWorkerThatIsNotConfinedIsFound() throws {
        let child = try RunningProgram(ProgramLaunch("/bin/sleep", ["sleep", "infinity"]))
        defer {
            child.kill()
            _ = try? child.wait()
        }
        let user = try WorkerUser(of: child.process)
        #expect { try WorkerInspection.require(child.process, confinedAs: user) } throws: {
            "\($0)".hasPrefix("cannot trust the worker: ")
        }
    }

    /// A worker that says that it is confined, with a libtpms 0.9.2, and is not, gets no state.
    @Test func aWorkerThatLiesGetsNoState() throws {
        let program =
            "#!/usr/bin/python3\nimport socket\ns = socket.socket(fileno=3)\ns.recv(100)\ns.send(b'\\x0d\\0\\0\\x09\\x02')\n"
            + "open('\(temporary.path)/got', 'wb').write(s.recv(100000))\n"
        try temporary.write("liar", Array(program.utf8))
        let script = "\(temporary.path)/liar"
        chmod(script, 0o755)
        let tpm = try VTPMUnderTest(in: temporary, worker: script)
        let answer = try tpm.hear()
        #expect(answer.kind == .failure)
        #expect(String(decoding: answer.body, as: UTF8.self).hasPrefix("cannot trust the worker: "))
        #expect(try tpm.reap() == .exited(1))
        #expect((try? temporary.read("got"))?.isEmpty ?? true)
    }

    @Test(arguments: [0, -1, 1 << 22] as [pid_t]) func whatIsNoProcessHasNoUser(_ process: pid_t) {
        #expect(throws: Failure.self) { try WorkerUser(of: process) }
    }

    @Test func usersLieInTheirRange() throws {
        #expect(try WorkerUser(of: 1).number == 2_139_095_041)
        #expect(try WorkerUser(of: 1 << 22 - 1).number == 2_143_289_343)
        #expect(WorkerUser(0) == nil && WorkerUser(1000) == nil)
        #expect(WorkerUser(WorkerUser.first) == nil && WorkerUser(WorkerUser.first + 1 << 22) == nil)
        #expect(try WorkerUser(WorkerUser.first + 5) == WorkerUser(of: 5))
    }

    /// systemd's own ranges, from its `meson_options.txt` and `src/basic/uid-classification.h`, and those of others for
    /// many users at once; nobody's is taken.
    @Test(
        arguments: [
            0...999, 1000...60000, 60001...60513, 60514...60577, 60578...60705, 61184...65519, 65534...65535,
            // Subordinate IDs (login.defs), LXD's and Incus's, containers of systemd's, of FreeIPA and SSSD.
            100_000...600_100_000, 1_000_000...1_001_000_000, 524_288...1_879_048_191, 200_000...2_000_200_000,
            // Foreign images; what is not signed any more.
            2_147_352_576...2_147_418_111, 2_147_483_648...UInt32.max,
        ] as [ClosedRange<UInt32>]
    )
    func nobodyElseHasTheirNumbers(_ range: ClosedRange<UInt32>) throws {
        let ours = try WorkerUser(of: 1).number...WorkerUser(of: 1 << 22 - 1).number
        #expect(!ours.overlaps(range))
    }

    private func text(_ path: String) throws -> String {
        let bytes = try Descriptor.open(path, .read).readAll(limit: 65536, path)
        return String(decoding: bytes, as: UTF8.self)
            .split { $0 == "\n" }.map { $0.split(separator: " ").joined(separator: " ") + " " }.joined()
    }
}
