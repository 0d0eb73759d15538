import CLinux
import Glibc
import Platform
import RuntimeControl
import RuntimeLease
import RuntimeState
import TestSupport
import Testing

/// What a vTPM promises, without the kernel's part: supervisor, worker, libtpms and tpm2-tools are real.
@Suite(.serialized) struct VTPMTests {
    let temporary: TemporaryDirectory

    init() throws {
        temporary = try TemporaryDirectory()
    }

    func start(_ stateID: String = "web") throws -> VTPMUnderTest {
        let tpm = try VTPMUnderTest(in: temporary, stateID: stateID)
        try tpm.create()
        return tpm
    }

    @Test func answersAndKeepsItsIdentity() throws {
        let first = try start()
        let key = try first.endorsementKey()
        try first.run("tpm2_createprimary -Q -C o -G ecc -c key.ctx && tpm2_evictcontrol -Q -C o -c key.ctx 0x81000100")
        let name = try first.run("tpm2_readpublic -Q -c 0x81000100 -o key.pub && sha256sum <key.pub")
        try first.run("tpm2_nvdefine -Q 0x1500001 -C o -s 7 -a 'ownerread|ownerwrite'")
        try first.run("printf content | tpm2_nvwrite -Q 0x1500001 -C o -i -")
        #expect(try first.transmit(extendPCR7).prefix(10).suffix(4).elementsEqual([0, 0, 0, 0]))
        #expect(try first.stop() == .exited(0))

        let second = try start()
        #expect(try second.endorsementKey() == key)
        #expect(try second.run("tpm2_readpublic -Q -c 0x81000100 -o key.pub && sha256sum <key.pub") == name)
        let content = try second.run("tpm2_nvread 0x1500001 -C o -s 7")
        #expect(content == "content")
        #expect(try second.run("tpm2_pcrread sha256:7").contains("0x" + String(repeating: "0", count: 64)))
        #expect(try second.stop() == .exited(0))
    }

    @Test func twoHaveNothingInCommon() throws {
        let one = try start("one")
        let other = try start("other")
        #expect(try one.endorsementKey() != other.endorsementKey())
        let primary =
            "tpm2_createprimary -Q -C o -G ecc -c key.ctx && tpm2_readpublic -Q -c key.ctx -o p && sha256sum <p"
        #expect(try one.run(primary) != other.run(primary))
    }

    /// A TPM that was never manufactured has no tries left, and no PCR bank.
    @Test func isManufacturedWhole() throws {
        let tpm = try start()
        let properties = try tpm.run("tpm2_getcap properties-variable")
        #expect(properties.contains("TPM2_PT_MAX_AUTH_FAIL: 0x3"), "\(properties)")
        #expect(properties.contains("inLockout:                 0"), "\(properties)")
        #expect(try tpm.run("tpm2_getcap pcrs").contains("sha256: [ 0, 1, 2"))
        #expect(try tpm.run("tpm2_getcap properties-fixed").contains("IBM"))
    }

    @Test func thePlatformHierarchyIsClosed() throws {
        let tpm = try start()
        #expect(try tpm.run("tpm2_getcap properties-variable").contains("phEnable:                  0"))
        for command in ["tpm2_changeeps", "tpm2_clear -c p"] {
            let (status, output) = try tpm.tool(command)
            #expect(status != .exited(0) && output.contains("hierarchy is not enabled"), "\(command): \(output)")
        }
        let key = try tpm.endorsementKey()
        try tpm.run("tpm2_clear -c l")
        #expect(try tpm.endorsementKey() == key)
    }

    @Test func theKernelsLocalityRequestIsAnswered() throws {
        let tpm = try start()
        let answer = try tpm.transmit([0x80, 0x02, 0, 0, 0, 11, 0x20, 0, 0x10, 0, 0])
        #expect(answer == [0x80, 0x01, 0, 0, 0, 10, 0, 0, 0, 0])
    }

    @Test func rubbishIsAnsweredAndDoesNoHarm() throws {
        let tpm = try start()
        var generator = SeededGenerator(seed: 7)
        for size in [1, 2, 9, 10, 11, 100, 4095, 4096] {
            let command = (0..<size).map { _ in UInt8.random(in: 0...255, using: &generator) }
            #expect(try tpm.transmit(command).count >= 10)
        }
        #expect(try tpm.transmit(getRandom).count == 20)
    }

    @Test func aDeadWorkerIsAFailedTPM() throws {
        let tpm = try start()
        #expect(try tpm.transmit(getRandom).count == 20)
        #expect(try tpm.status().health == .serving)
        // The hook's channel and that client's are closed a moment later.
        let descriptors = try settledDescriptors(of: tpm.supervisor.process)
        kill(tpm.worker, SIGKILL)
        for _ in 0..<3 { #expect(try tpm.transmit(getRandom) == failureResponse) }
        // Its channel and its pidfd are gone with it.
        #expect(try ProcessUsage(of: tpm.supervisor.process).descriptors == descriptors - 2)
        #expect(try tpm.transmit(extendPCR7) == failureResponse)
        let status = try tpm.status()
        #expect(status.health == .failed)
        #expect(status.reason.contains("signal 9"), "\(status.reason)")
        #expect(try tpm.stop() == .exited(0))
        #expect(!temporary.exists("run/lease-web"))
    }

    /// How many descriptors a process has once it has nothing to do any more.
    private func settledDescriptors(of process: pid_t) throws -> Int {
        var (count, looks) = (0, 0)
        while looks < 20 {
            let now = try ProcessUsage(of: process).descriptors
            looks = now == count ? looks + 1 : 0
            count = now
            usleep(5000)
        }
        return count
    }

    @Test func aDeadSupervisorIsAFailedTPM() throws {
        let tpm = try start()
        let worker = try ProcessHandle(tpm.worker)
        tpm.supervisor.kill()
        _ = try tpm.reap()
        #expect(try tpm.transmit(getRandom) == failureResponse)
        #expect(try worker.isAlive())
        tpm.initProcess.kill()
        #expect(try wait(for: worker.descriptor.number, until: Deadline(milliseconds: 60_000)) != 0)
    }

    @Test func aStateThatCannotBeStoredIsNotAcknowledged() throws {
        let tpm = try start()
        let generation = try tpm.status().generation
        // The state's file is gone, and another cannot be made: a directory has its name.
        let (file, aside) = ("\(temporary.path)/states/web/state", "\(temporary.path)/aside")
        try #require(rename(file, aside) == 0)
        _ = try temporary.directory("states/web/state.new")
        #expect(try tpm.tool("tpm2_nvdefine -Q 0x1500001 -C o -s 7").status != .exited(0))
        #expect(try tpm.transmit(getRandom) == failureResponse)
        #expect(try tpm.status().health == .failed)
        #expect(try tpm.status().generation == generation)
        try tpm.stop()
        rmdir("\(temporary.path)/states/web/state.new")
        try #require(rename(aside, file) == 0)
        let again = try start()
        #expect(try again.run("tpm2_getcap handles-nv-index") == "")
        #expect(try again.transmit(getRandom).count == 20)
    }

    @Test func nothingIsLeftWhenTheInitDies() throws {
        let tpm = try start()
        let worker = try ProcessHandle(tpm.worker)
        #expect(try tpm.stop() == .exited(0))
        #expect(try !worker.isAlive())
        #expect(try entries(of: temporary.directory("run"), "") == [])
        #expect(try entries(of: temporary.directory("states/web"), "").sorted() == ["lock", "state"])
    }

    /// Who asked for the stop may rely on it: when the connection closes, all else is free.
    @Test func theConnectionClosesWhenAllIsDone() throws {
        let tpm = try start()
        let channel = try ControlSocket.connect(in: temporary.directory("run/lease-web"))
        try channel.send(ControlRequest.stop)
        let lock = try Descriptor.open("\(temporary.path)/states/web/lock", .read)
        #expect(flock(lock.number, LOCK_EX | LOCK_NB) == -1 && errno == EWOULDBLOCK)
        tpm.initProcess.kill()
        let end = try wait(for: channel.descriptor.number, until: Deadline(milliseconds: 60_000))
        #expect(end & CInt(POLLHUP) != 0)
        #expect(!temporary.exists("run/lease-web"))
        #expect(flock(lock.number, LOCK_EX | LOCK_NB) == 0)
        #expect(try wait(for: tpm.device, 0, until: Deadline(milliseconds: 0)) & CInt(POLLHUP) != 0)
        #expect(try tpm.reap() == .exited(0))
    }

    @Test func anEphemeralOneIsAnotherEachTime() throws {
        var keys: [String] = []
        for _ in 0..<2 {
            let tpm = try VTPMUnderTest(in: temporary, isEphemeral: true)
            try tpm.create()
            keys.append(try tpm.endorsementKey())
            try tpm.run("tpm2_nvdefine -Q 0x1500001 -C o -s 7")
            #expect(try tpm.status().generation > 1)
            #expect(try tpm.stop() == .exited(0))
        }
        #expect(keys[0] != keys[1])
        #expect(!temporary.exists("states") && !temporary.exists("index"))
    }

    @Test func twentyOrdinaryStopsCountNoFailedAuthorization() throws {
        for _ in 0..<20 {
            let tpm = try start()
            try tpm.run(
                "tpm2_createprimary -Q -C o -G ecc -c p.ctx && tpm2_create -Q -C p.ctx -G ecc -p secret -u k.pub -r k.priv"
                    + " && tpm2_flushcontext -Q -t && tpm2_load -Q -C p.ctx -u k.pub -r k.priv -c k.ctx"
                    + " && echo x >m && tpm2_sign -Q -c k.ctx -p secret -o s m"
            )
            try tpm.stop()
        }
        #expect(try start().run("tpm2_getcap properties-variable").contains("TPM2_PT_LOCKOUT_COUNTER: 0x0"))
    }

    @Test func anOccupiedDeviceAnswersFailure() throws {
        let tpm = try VTPMUnderTest(in: temporary)
        #expect(try tpm.hear().kind == .ready)
        var ends: [CInt] = [-1, -1]
        try #require(socketpair(AF_UNIX, CInt(SOCK_SEQPACKET.rawValue | SOCK_CLOEXEC.rawValue), 0, &ends) == 0)
        try tpm.hook.send(HookRequest.reserve, descriptors: [ends[0]])
        close(ends[0])
        let other = Descriptor(owning: ends[1])
        try other.writeAll([0x80, 0x02, 0, 0, 0, 11, 0x20, 0, 0x10, 0, 0], "the occupied device")
        for _ in 0..<2 {
            var answer = [UInt8](repeating: 0, count: 64)
            try #require(try wait(for: other.number, until: Deadline(milliseconds: 60_000)) != 0)
            #expect(recv(other.number, &answer, answer.count, 0) == 10)
            #expect(Array(answer.prefix(10)) == failureResponse)
        }
    }
}
