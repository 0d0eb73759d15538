import CLinux
import Glibc
import Platform
import RuntimeControl
import RuntimeLease
import RuntimeState
import Testing

// Creations that are cut short, and what they leave: leases and states.
extension VTPMTests {
    @Test func nothingIsLeftWhenTheHookGoesAway() throws {
        for step in 0..<3 {
            let tpm = try VTPMUnderTest(in: temporary)
            if step > 0 { #expect(try tpm.hear().kind == .ready) }
            if step > 1 { try tpm.serve() }
            shutdown(tpm.hook.descriptor.number, CInt(SHUT_RDWR))
            #expect(try tpm.reap() == .exited(1))
            #expect(try entries(of: temporary.directory("run"), "") == [])
            #expect(try entries(of: temporary.directory("states"), "") == [])
            #expect(try entriesOfIndex() == [])
        }
        let first = try start()
        let key = try first.endorsementKey()
        try first.stop()
        // What was there before is nobody's to undo.
        let tpm = try VTPMUnderTest(in: temporary)
        #expect(try tpm.hear().kind == .ready)
        try tpm.serve()
        shutdown(tpm.hook.descriptor.number, CInt(SHUT_RDWR))
        #expect(try tpm.reap() == .exited(1))
        #expect(try start().endorsementKey() == key)
    }

    /// The states that the host's index knows.
    private func entriesOfIndex() throws -> [String] {
        let keys = KeyRing(try MasterKey(secret(1)))
        return try HostIndex(in: temporary.directory("index"), path: "", keys: keys).snapshot().keys.sorted()
    }

    /// A name is another container's as soon as that one has made its directory.
    @Test func anOldSupervisorLeavesItsSuccessorsLease() throws {
        let tpm = try VTPMUnderTest(in: temporary, isEphemeral: true)
        try tpm.create()
        #expect(rename("\(temporary.path)/run/lease-web", "\(temporary.path)/run/aside") == 0)
        // Just made, and empty yet.
        _ = try temporary.directory("run/lease-web")
        #expect(try tpm.stop() == .exited(0))
        #expect(temporary.exists("run/lease-web"))
        #expect(try entries(of: temporary.directory("run/aside"), "") == [])
    }

    /// The other way round: a supervisor takes the place of one that stops yet, whose lock it does not wait for.
    @Test func aSuccessorGetsALeaseOfItsOwn() throws {
        let old = OpenLease("lease-web", try temporary.directory("run/lease-web"))
        #expect(try old.lock())
        let tpm = try start()
        #expect(try !old.isCurrent(in: temporary.directory("run")))
        #expect(try !OpenLease("lease-web", temporary.directory("run/lease-web")).lock())
        try tpm.stop()
    }

    /// Where there is no room for the lease, no state is made.
    @Test func aLeaseThatCannotBeMadeComesBeforeTheState() throws {
        try temporary.write("lease-web", [])
        _ = try temporary.directory("run")
        #expect(rename("\(temporary.path)/lease-web", "\(temporary.path)/run/lease-web") == 0)
        #expect(try refusal().contains("cannot open the lease lease-web: openat2: Not a directory (it is none of ours"))
        #expect(try entries(of: temporary.directory("states"), "") == [])
    }

    /// Hook and supervisor are both killed: the lease names the state, and whoever comes next removes it, if nobody has
    /// used it since.
    @Test func aKilledCreationNamesItsState() throws {
        let tpm = try VTPMUnderTest(in: temporary)
        #expect(try tpm.hear().kind == .ready)
        let made = try #require(try MadeState(temporary.read("run/lease-web/\(LeaseFiles.madeState)")))
        tpm.supervisor.kill()
        _ = try tpm.reap()
        #expect(made.stateID == "web" && made.user.supervisor == tpm.supervisor.process)
        // Used since, by the same container.
        try start().stop()
        #expect(try repository().discard(made) == .stays)
        #expect(temporary.exists("states/web/state"))

        let other = try VTPMUnderTest(in: temporary, stateID: "db")
        #expect(try other.hear().kind == .ready)
        let second = try #require(try MadeState(temporary.read("run/lease-db/\(LeaseFiles.madeState)")))
        other.supervisor.kill()
        _ = try other.reap()
        #expect(try repository().discard(second) == .removed)
        #expect(try entries(of: temporary.directory("states"), "") == ["web"])
        #expect(try entriesOfIndex() == ["web"])
    }

    private func repository() throws -> StateRepository {
        let keys = KeyRing(try MasterKey(secret(1)))
        let path = temporary.path
        return StateRepository(
            in: try temporary.directory("states"),
            path: "\(path)/states",
            keys: keys,
            index: try HostIndex(in: temporary.directory("index"), path: "\(path)/index", keys: keys)
        )
    }

    /// From the commit on the container may have used its TPM.
    @Test func aCompleteContainerKeepsItsState() throws {
        let tpm = try start()
        #expect(!temporary.exists("run/lease-web/\(LeaseFiles.madeState)"))
        tpm.supervisor.kill()
        _ = try tpm.reap()
        #expect(temporary.exists("states/web/state"))
    }

    @Test func anInitThatDiesEarlyEndsTheCreation() throws {
        let tpm = try VTPMUnderTest(in: temporary)
        #expect(try tpm.hear().kind == .ready)
        tpm.initProcess.kill()
        let answer = try tpm.hear()
        #expect(answer.kind == .failure)
        #expect(String(decoding: answer.body, as: UTF8.self).contains("the container's init ended"))
        #expect(try tpm.reap() == .exited(1))
        #expect(try entries(of: temporary.directory("states"), "") == [])
    }

    @Test func aWorkerThatCannotStartIsTold() throws {
        let tpm = try VTPMUnderTest(in: temporary, worker: "/bin/false")
        let answer = try tpm.hear()
        #expect(answer.kind == .failure)
        #expect(
            String(decoding: answer.body, as: UTF8.self) == "cannot start the TPM: its worker ended with exit code 1"
        )
        #expect(try tpm.reap() == .exited(1))
        #expect(try entries(of: temporary.directory("run"), "") == [])
        #expect(try entries(of: temporary.directory("states"), "") == [])
    }
}
