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

    /// The TPM serves for as long as the container may still stop by itself, and then fails in order.
    ///
    /// It is shut down, every command gets TPM_RC_FAILURE, and the number stays taken until the init is dead.
    @Test func aLivingContainerKeepsItsNumber() throws {
        let tpm = try VTPMUnderTest(in: temporary)
        try tpm.create()
        let key = try tpm.endorsementKey()
        // A TPM that was lost after this would count a failed authorization.
        try tpm.run(
            "tpm2_createprimary -Q -C o -G ecc -c p.ctx && tpm2_create -Q -C p.ctx -G ecc -p secret -u k.pub -r k.priv"
                + " && tpm2_flushcontext -Q -t && tpm2_load -Q -C p.ctx -u k.pub -r k.priv -c k.ctx"
                + " && echo x >m && tpm2_sign -Q -c k.ctx -p secret -o s m"
        )
        kill(tpm.supervisor.process, SIGTERM)
        // A second one changes nothing.
        kill(tpm.supervisor.process, SIGTERM)
        #expect(try tpm.status().health == .serving)
        #expect(try tpm.transmit(getRandom).count == 20)

        let end = Deadline(milliseconds: 300_000)
        while try tpm.status().health == .serving {
            try #require(!end.hasPassed)
            poll(nil, 0, 200)
        }
        #expect(try tpm.status().health == .failed)
        for _ in 0..<3 { #expect(try tpm.transmit(getRandom) == failureResponse) }
        #expect(try ProcessHandle(tpm.supervisor.process).isAlive())
        // Nobody has hung up.
        #expect(try wait(for: tpm.device, 0, until: Deadline(milliseconds: 0)) == 0)
        #expect(temporary.exists("run/lease-web"))

        #expect(try tpm.stop() == .exited(0))
        #expect(!temporary.exists("run/lease-web"))
        let again = try VTPMUnderTest(in: temporary)
        try again.create()
        #expect(try again.endorsementKey() == key)
        #expect(try again.run("tpm2_getcap properties-variable").contains("TPM2_PT_LOCKOUT_COUNTER: 0x0"))
        try again.stop()
    }

    /// The ordinary way: the container stops as well, and the supervisor with it.
    @Test func aContainerThatStopsInTimeIsAnOrdinaryStop() throws {
        let tpm = try VTPMUnderTest(in: temporary)
        try tpm.create()
        let worker = try ProcessHandle(tpm.worker)
        kill(tpm.supervisor.process, SIGTERM)
        #expect(try tpm.transmit(getRandom).count == 20)
        #expect(try tpm.stop() == .exited(0))
        #expect(try !worker.isAlive())
        #expect(try entries(of: temporary.directory("run"), "") == [])
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
