import Glibc
import Platform
import RuntimeControl
import RuntimeState
import Testing

/// A vTPM whose container has no PID namespace of its own: it lasts as long as the container's cgroup has processes.
@Suite(.serialized, .enabled(if: TestCgroup.mountPoint != nil, TestCgroup.isMissing))
struct SharedPIDNamespaceTests {
    let temporary: TemporaryDirectory
    let cgroup: TestCgroup

    init() throws {
        temporary = try TemporaryDirectory()
        cgroup = try TestCgroup()
    }

    /// The container's init, and a child of it.
    private func start() throws -> VTPMUnderTest {
        let tpm = try VTPMUnderTest(in: temporary, cgroup: cgroup)
        try cgroup.awaitProcesses(2)
        return tpm
    }

    private func killInit(_ tpm: VTPMUnderTest) throws {
        tpm.initProcess.kill()
        _ = try tpm.initProcess.wait()
    }

    @Test func `a TPM outlives the init, and not the last process`() throws {
        let tpm = try start()
        try tpm.create()
        let key = try tpm.endorsementKey()
        #expect(try entries(of: .open("/proc/\(tpm.worker)/fd", .directory), "descriptors").count == 7)
        try killInit(tpm)
        #expect(try tpm.endorsementKey() == key)
        #expect(try tpm.status().health == .serving)
        #expect(temporary.exists("run/lease-web"))
        cgroup.kill()
        #expect(try tpm.reap() == .exited(0))
        #expect(try entries(of: temporary.directory("run"), "") == [])
        // The stop was an orderly one.
        let again = try VTPMUnderTest(in: temporary)
        try again.create()
        #expect(try again.endorsementKey() == key)
        try again.stop()
    }

    @Test func `a TPM that has failed stays failed until the last process ends`() throws {
        let tpm = try start()
        try tpm.create()
        kill(tpm.worker, SIGKILL)
        #expect(try tpm.transmit(getRandom) == failureResponse)
        try killInit(tpm)
        for _ in 0..<3 { #expect(try tpm.transmit(getRandom) == failureResponse) }
        #expect(try tpm.status().health == .failed)
        cgroup.kill()
        #expect(try tpm.reap() == .exited(0))
        #expect(!temporary.exists("run/lease-web"))
    }

    @Test func `a worker without a supervisor stays until the last process ends`() throws {
        let tpm = try start()
        try tpm.create()
        let worker = try ProcessHandle(tpm.worker)
        try killInit(tpm)
        tpm.supervisor.kill()
        _ = try tpm.reap()
        for _ in 0..<3 { #expect(try tpm.transmit(getRandom) == failureResponse) }
        #expect(try worker.isAlive())
        cgroup.kill()
        #expect(try wait(for: worker.descriptor.number, until: Deadline(milliseconds: 60_000)) != 0)
    }

    /// The hook's probe, for which the init's child stands here, is in the cgroup while a container is created.
    @Test func `a container whose init ends while it is created is undone`() throws {
        let tpm = try start()
        try #require(try tpm.hear().kind == .ready)
        try killInit(tpm)
        let answer = try tpm.hear()
        #expect(answer.kind == .failure)
        #expect(String(decoding: answer.body, as: UTF8.self).contains("the container's init ended"))
        #expect(try tpm.reap() == .exited(1))
        #expect(try cgroup.processes().count == 1)
    }

    /// The lock file of the state names the container for who looks at it when the supervisor is dead.
    @Test func `its state is in use until the last process ends`() throws {
        let tpm = try start()
        try tpm.create()
        tpm.supervisor.kill()
        _ = try tpm.reap()
        try killInit(tpm)
        let directory = try temporary.directory("states/web")
        let error = #expect(throws: Failure.self) {
            try StateLock.forOperator(in: directory, of: "web").run { () throws(Failure) in }
        }
        #expect(error?.why.hasPrefix("container \"container-web\" uses it") == true)
        cgroup.kill()
        let deadline = Deadline(milliseconds: 60_000)
        while try cgroup.identity().isPopulated() { try #require(!deadline.hasPassed) }
        try StateLock.forOperator(in: directory, of: "web").run { () throws(Failure) in }
    }
}
