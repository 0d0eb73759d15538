import Glibc
import Platform
import RuntimeControl
import RuntimeLease
import RuntimeState
import Testing

/// A vTPM that is made for a runtime, and then belongs to the container that the runtime has created.
///
/// `initProcess` of the vTPM under test is the runtime; another `sleep` is the container's init.
@Suite(.serialized) struct AdoptionTests {
    private let temporary: TemporaryDirectory
    private let container: RunningProgram

    init() throws {
        temporary = try TemporaryDirectory()
        container = try RunningProgram(ProgramLaunch("/bin/sleep", ["sleep", "infinity"]))
    }

    /// A vTPM that serves and whose container is not complete.
    private func serve(isEphemeral: Bool = false) throws -> VTPMUnderTest {
        let tpm = try VTPMUnderTest(in: temporary, isEphemeral: isEphemeral)
        try #require(try tpm.hear().kind == .ready)
        try tpm.serve()
        return tpm
    }

    private func requestAdoption(_ tpm: VTPMUnderTest) throws {
        let identity = ContainerIdentity(initProcess: try ProcessID(of: container.process), cgroup: nil)
        let reference = try ProcessHandle(container.process)
        try tpm.hook.send(HookRequest.adopt(identity), descriptors: [reference.descriptor.number])
    }

    private func adopt(_ tpm: VTPMUnderTest) throws {
        try requestAdoption(tpm)
        try #require(try tpm.hear().kind == .adopted)
    }

    private func commit(_ tpm: VTPMUnderTest) throws {
        try tpm.hook.send(HookRequest.commit)
        try #require(try tpm.hear().kind == .committed)
    }

    private func end(_ program: RunningProgram) throws {
        program.kill()
        _ = try program.wait()
    }

    private func endContainer(_ tpm: VTPMUnderTest) throws -> WaitStatus {
        try end(container)
        return try tpm.reap()
    }

    private func expectUndone() throws {
        #expect(try entries(of: temporary.directory("run"), "") == [])
        #expect(try entries(of: temporary.directory("states"), "") == [])
        let keys = KeyRing(try MasterKey(secret(1)))
        let index = try HostIndex(in: temporary.directory("index"), path: "", keys: keys)
        #expect(try index.snapshot().isEmpty)
    }

    private func expectRefusal(_ tpm: VTPMUnderTest, _ why: String) throws {
        let answer = try tpm.hear()
        #expect(answer.kind == .failure)
        #expect(String(decoding: answer.body, as: UTF8.self).contains(why))
        #expect(try tpm.reap() == .exited(1))
        try expectUndone()
    }

    @Test(arguments: [true, false])
    func `it outlives the runtime, and ends with the container`(isEphemeral: Bool) throws {
        let tpm = try serve(isEphemeral: isEphemeral)
        let key = try tpm.endorsementKey()
        try adopt(tpm)
        // The runtime may end before its container is complete.
        try end(tpm.initProcess)
        #expect(try tpm.endorsementKey() == key)
        try commit(tpm)
        #expect(try tpm.endorsementKey() == key)
        #expect(try tpm.status().health == .serving)
        #expect(temporary.exists("run/lease-web"))
        #expect(try endContainer(tpm) == .exited(0))
        #expect(try entries(of: temporary.directory("run"), "") == [])
        guard !isEphemeral else { return }
        // The stop was an orderly one, and the state is there for the next one.
        let again = try VTPMUnderTest(in: temporary)
        try again.create()
        #expect(try again.endorsementKey() == key)
        try again.stop()
    }

    @Test func `it ends with the runtime if nobody adopts it`() throws {
        let tpm = try serve()
        try end(tpm.initProcess)
        try expectRefusal(tpm, "the container's init ended")
    }

    @Test func `a container that ends before it is complete undoes it`() throws {
        let tpm = try serve()
        try adopt(tpm)
        try end(container)
        try expectRefusal(tpm, "the container's init ended")
    }

    @Test func `nobody adopts it twice`() throws {
        let tpm = try serve()
        try adopt(tpm)
        try requestAdoption(tpm)
        try expectRefusal(tpm, "the hook sent \"adopt\" out of turn")
    }

    @Test func `nobody adopts it before it serves`() throws {
        let tpm = try VTPMUnderTest(in: temporary)
        try #require(try tpm.hear().kind == .ready)
        try requestAdoption(tpm)
        try expectRefusal(tpm, "the hook sent \"adopt\" out of turn")
    }

    @Test func `a container without an init adopts nothing`() throws {
        let tpm = try serve()
        let identity = ContainerIdentity(initProcess: try ProcessID(of: container.process), cgroup: nil)
        try tpm.hook.send(HookRequest.adopt(identity))
        try expectRefusal(tpm, "the hook sent \"adopt\" out of turn")
    }

    @Test func `a hook that goes away before the commit undoes it`() throws {
        let tpm = try serve()
        try adopt(tpm)
        #expect(try MadeState(temporary.read("run/lease-web/\(LeaseFiles.madeState)")) != nil)
        shutdown(tpm.hook.descriptor.number, CInt(SHUT_RDWR))
        #expect(try tpm.reap() == .exited(1))
        try expectUndone()
    }

    /// The worker watches the container by itself.
    @Test func `a worker without a supervisor stays until the container ends`() throws {
        let tpm = try serve()
        try adopt(tpm)
        try commit(tpm)
        let worker = try ProcessHandle(tpm.worker)
        // It looks at what it was told at the next command.
        #expect(try tpm.transmit(getRandom).count == 20)
        try end(tpm.initProcess)
        tpm.supervisor.kill()
        _ = try tpm.reap()
        for _ in 0..<3 { #expect(try tpm.transmit(getRandom) == failureResponse) }
        #expect(try worker.isAlive())
        try end(container)
        #expect(try wait(for: worker.descriptor.number, until: Deadline(milliseconds: 60_000)) != 0)
    }

    private func lastUser() throws -> StateUser {
        try #require(try StateLock.lastUser(in: temporary.directory("states/web")))
    }

    /// Until then the lock and the made state name the same user, so that a state which nobody has used can go.
    @Test func `the state's lock names the container from the commit on`() throws {
        let tpm = try serve()
        let runtime = try ProcessID(of: tpm.initProcess.process)
        let adopter = try ProcessID(of: container.process)
        #expect(try lastUser().initProcess == runtime)
        try adopt(tpm)
        #expect(try lastUser().initProcess == runtime)
        let made = try #require(try MadeState(temporary.read("run/lease-web/\(LeaseFiles.madeState)")))
        #expect(try made.user == lastUser())
        try commit(tpm)
        let expected = StateUser(containerID: "container-web", initProcess: adopter, supervisor: tpm.supervisor.process)
        #expect(try lastUser() == expected)
        #expect(!temporary.exists("run/lease-web/\(LeaseFiles.madeState)"))
        // A killed supervisor's state is in use until the container ends, and not the runtime.
        try end(tpm.initProcess)
        tpm.supervisor.kill()
        _ = try tpm.reap()
        let error = #expect(throws: Failure.self) {
            try StateLock.forOperator(in: temporary.directory("states/web"), of: "web").run { () throws(Failure) in }
        }
        #expect(error?.why.hasPrefix("container \"container-web\" uses it") == true)
    }

    private func openLease() throws -> OpenLease {
        OpenLease("lease-web", try temporary.directory("run/lease-web"))
    }

    /// It says which bundle has to get its own `config.json` back, which the supervisor cannot reach.
    @Test func `a supervisor that gives up leaves the lease of what waits for its hook`() throws {
        let tpm = try serve()
        let record = try PreparedVTPM(token: [UInt8](repeating: 7, count: 16), config: [1, 2, 3])
        try openLease().write(record)
        shutdown(tpm.hook.descriptor.number, CInt(SHUT_RDWR))
        #expect(try tpm.reap() == .exited(1))
        let lease = try openLease()
        #expect(try lease.prepared() == record)
        // All else is undone.
        #expect(try entries(of: temporary.directory("states"), "") == [])
        // Whoever finds the lease gets its lock.
        #expect(try lease.lock())
        try lease.remove(from: temporary.directory("run"))
        try expectUndone()
    }

    @Test func `a record that was removed leaves nothing`() throws {
        let tpm = try serve()
        try openLease().write(PreparedVTPM(token: [UInt8](repeating: 7, count: 16), config: []))
        try openLease().removePrepared()
        shutdown(tpm.hook.descriptor.number, CInt(SHUT_RDWR))
        #expect(try tpm.reap() == .exited(1))
        try expectUndone()
    }
}

/// A container that has no PID namespace of its own adopts with its cgroup.
@Suite(.serialized, .enabled(if: TestCgroup.mountPoint != nil, TestCgroup.isMissing))
struct SharedPIDAdoptionTests {
    @Test func `it lasts until the last process of the cgroup ends`() throws {
        let temporary = try TemporaryDirectory()
        let cgroup = try TestCgroup()
        let container = try cgroup.start("sleep infinity & exec sleep infinity")
        try cgroup.awaitProcesses(2)
        let tpm = try VTPMUnderTest(in: temporary, isEphemeral: true)
        try #require(try tpm.hear().kind == .ready)
        try tpm.serve()
        let identity = ContainerIdentity(
            initProcess: try ProcessID(of: container.process),
            cgroup: try cgroup.identity()
        )
        let reference = try ProcessHandle(container.process)
        let events = try cgroup.openEvents()
        try tpm.hook.send(HookRequest.adopt(identity), descriptors: [reference.descriptor.number, events.number])
        try #require(try tpm.hear().kind == .adopted)
        try tpm.hook.send(HookRequest.commit)
        try #require(try tpm.hear().kind == .committed)
        for program in [tpm.initProcess, container] {
            program.kill()
            _ = try program.wait()
        }
        #expect(try tpm.transmit(getRandom).count == 20)
        #expect(try tpm.status().health == .serving)
        cgroup.kill()
        #expect(try tpm.reap() == .exited(0))
        #expect(try entries(of: temporary.directory("run"), "") == [])
    }
}
