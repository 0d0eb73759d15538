import CLinux
import Glibc
import Platform
import RuntimeControl
import Testing

/// SIGTERM for a supervisor: an engine's service is stopped, with all its processes, while containers live on.
@Suite struct TerminationTests {
    let temporary: TemporaryDirectory

    init() throws {
        temporary = try TemporaryDirectory()
    }

    /// The TPM serves for as long as the container lives, and is then shut down in order.
    @Test func aLivingContainerKeepsItsTPM() throws {
        let tpm = try VTPMUnderTest(in: temporary)
        try tpm.create()
        let key = try tpm.endorsementKey()
        // A TPM that was lost after this would count a failed authorization.
        try tpm.run(
            "tpm2_createprimary -Q -C o -G ecc -c p.ctx && tpm2_create -Q -C p.ctx -G ecc -p secret -u k.pub -r k.priv"
                + " && tpm2_flushcontext -Q -t && tpm2_load -Q -C p.ctx -u k.pub -r k.priv -c k.ctx"
                + " && echo x >m && tpm2_sign -Q -c k.ctx -p secret -o s m"
        )
        for _ in 0..<3 {
            kill(tpm.supervisor.process, SIGTERM)
            #expect(try tpm.status().health == .serving)
            #expect(try tpm.transmit(getRandom).count == 20)
        }
        #expect(temporary.exists("run/lease-web"))

        #expect(try tpm.stop() == .exited(0))
        #expect(!temporary.exists("run/lease-web"))
        let again = try VTPMUnderTest(in: temporary)
        try again.create()
        #expect(try again.endorsementKey() == key)
        #expect(try again.run("tpm2_getcap properties-variable").contains("TPM2_PT_LOCKOUT_COUNTER: 0x0"))
        try again.stop()
    }

    /// The container stops as well, and the supervisor with it.
    @Test func aContainerThatStopsIsAnOrdinaryStop() throws {
        let tpm = try VTPMUnderTest(in: temporary)
        try tpm.create()
        let worker = try ProcessHandle(tpm.worker)
        kill(tpm.supervisor.process, SIGTERM)
        #expect(try tpm.transmit(getRandom).count == 20)
        #expect(try tpm.stop() == .exited(0))
        #expect(try !worker.isAlive())
        #expect(try entries(of: temporary.directory("run"), "") == [])
    }

    /// A shutdown of the host may kill everything at once soon after, as if the power had failed.
    @Test(arguments: [0, 1, 2]) func whatFollowsMayBeAKill(usesAfter: Int) throws {
        let use = "tpm2_nvread -Q 0x1500001 -C 0x1500001 -P password -s 7 -o content"
        let tpm = try VTPMUnderTest(in: temporary)
        try tpm.create()
        try tpm.run(
            "tpm2_nvdefine -Q 0x1500001 -C o -s 7 -p password -a 'authread|authwrite'"
                + " && echo -n content | tpm2_nvwrite -Q 0x1500001 -C 0x1500001 -P password -i - && \(use)"
        )
        kill(tpm.supervisor.process, SIGTERM)
        #expect(try tpm.status().health == .serving)
        for _ in 0..<usesAfter { try tpm.run(use) }
        // The second is read after what follows the first has been done.
        for _ in 0..<2 { #expect(try tpm.transmit(getRandom).count == 20) }
        try killAll(of: tpm)
        let again = try VTPMUnderTest(in: temporary)
        try again.create()
        #expect(try again.run("tpm2_getcap properties-variable").contains("TPM2_PT_LOCKOUT_COUNTER: 0x0"))
        // Without a SIGTERM, the same counts.
        try again.run(use)
        try killAll(of: again)
        let last = try VTPMUnderTest(in: temporary)
        try last.create()
        #expect(try last.run("tpm2_getcap properties-variable").contains("TPM2_PT_LOCKOUT_COUNTER: 0x1"))
        try last.stop()
    }

    private func killAll(of tpm: VTPMUnderTest) throws {
        let worker = try ProcessHandle(tpm.worker)
        tpm.supervisor.kill()
        kill(tpm.worker, SIGKILL)
        #expect(try wait(for: worker.descriptor.number, until: Deadline(milliseconds: 60_000)) != 0)
        try tpm.stop()
    }

    @Test func aContainerThatIsNotCompleteIsUndone() throws {
        let tpm = try VTPMUnderTest(in: temporary)
        try #require(try tpm.hear().kind == .ready)
        kill(tpm.supervisor.process, SIGTERM)
        let answer = try tpm.hear()
        #expect(answer.kind == .failure)
        #expect(String(decoding: answer.body, as: UTF8.self).contains("SIGTERM came"))
        #expect(try tpm.reap() == .exited(1))
        #expect(try entries(of: temporary.directory("run"), "") == [])
    }
}
