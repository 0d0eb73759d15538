import CLinux
import Glibc
import Platform
import Testing

@testable import RuntimeState

@Suite struct StateStoreTests {
    let temporary: TemporaryDirectory
    let master: MasterKey

    init() throws {
        temporary = try TemporaryDirectory()
        master = try MasterKey(secret(1))
    }

    /// This process as the container's init: it is alive.
    func user(_ container: String = "web") throws -> StateUser {
        StateUser(containerID: container, initProcess: try ProcessID(of: getpid()), supervisor: getpid())
    }

    func repository(_ keys: KeyRing) throws(Failure) -> StateRepository {
        let path = temporary.path
        let index = try HostIndex(in: openOwnDirectory("\(path)/index"), path: "\(path)/index", keys: keys)
        return StateRepository(
            in: try openOwnDirectory("\(path)/states"),
            path: "\(path)/states",
            keys: keys,
            index: index
        )
    }

    /// A user whose container has ended, and whose lock is therefore waited for: programs that other tests start hold a
    /// copy of it until their execve(2).
    func open(
        _ stateID: String = "web",
        for user: StateUser? = nil,
        with key: MasterKey? = nil,
        timeout: Int = 30_000
    ) throws(Failure) -> (store: StateStore, payload: StatePayload) {
        let nobody = ProcessID(process: pid_t.max, startTime: 0)
        let ownUser = StateUser(containerID: "web", initProcess: nobody, supervisor: getpid())
        return try StateStore.open(
            stateID,
            in: repository(KeyRing(key ?? master)),
            for: user ?? ownUser,
            until: Deadline(milliseconds: timeout)
        )
    }

    func store(_ text: String, _ stateID: String = "web") throws {
        let store = try open(stateID).store
        try store.write(StatePayload(permanent: secretCopy(of: Array(text.utf8)), isComplete: true))
        try store.recordUse()
    }

    func load(_ stateID: String = "web") throws -> String {
        try open(stateID).payload.permanent.withBytes { String(decoding: $0, as: UTF8.self) }
    }

    func refusal(_ stateID: String = "web", with key: MasterKey? = nil, timeout: Int = 30_000) throws -> String {
        let before = snapshot()
        do throws(Failure) {
            _ = try open(stateID, with: key, timeout: timeout)
            Issue.record("the state was accepted")
            return ""
        } catch {
            #expect(snapshot() == before, "a refusal changed something")
            return error.description
        }
    }

    /// Every file below the states directory, with its content.
    func snapshot() -> [String: [UInt8]] {
        var found: [String: [UInt8]] = [:]
        guard let states = try? Descriptor.open("\(temporary.path)/states", .directory),
            let names = try? entries(of: states, "")
        else { return found }
        for name in names {
            guard let directory = try? Descriptor.open(name, .directory, at: states.number),
                let files = try? entries(of: directory, "")
            else { continue }
            for file in files {
                found["\(name)/\(file)"] = try? temporary.read("states/\(name)/\(file)")
            }
        }
        return found
    }

    @Test func aNewStateIsToBeManufactured() throws {
        let opened = try open()
        #expect(!opened.payload.isComplete)
        #expect(opened.payload.permanent.count == 0)
    }

    @Test func anInterruptedManufactureIsRepeated() throws {
        _ = try open()
        #expect(try !open().payload.isComplete)
    }

    /// What the index has seen is not made anew, whatever an authentic file says.
    @Test func aStateThatWasCompleteIsNotManufacturedAgain() throws {
        try store("one")
        try open().store.write(StatePayload(permanent: SecretBytes(capacity: 1), isComplete: false))
        let line = try refusal()
        #expect(line.contains("states/web/state: it holds no TPM, and this host's index knows one of generation 1"))
        #expect(line.hasSuffix("(restore it from a backup, or begin anew: vtpmctl state reset)"))
    }

    /// A TPM that an older version kept under the container's ID alone is not silently replaced by a new one.
    @Test func aStateUnderItsFormerNameIsNotBegunAnew() throws {
        func open(_ stateID: String) throws(Failure) -> StatePayload {
            try StateStore.open(
                stateID,
                formerly: "web",
                in: repository(KeyRing(master)),
                for: StateUser(
                    containerID: "web",
                    initProcess: ProcessID(process: pid_t.max, startTime: 0),
                    supervisor: getpid()
                ),
                until: Deadline(milliseconds: 30_000)
            ).payload
        }
        func refusal(_ stateID: String) -> String {
            let error = #expect(throws: Failure.self) { try open(stateID) }
            return error?.description ?? ""
        }
        // One that was never manufactured is none.
        _ = try self.open("web")
        #expect(try !open("nerdctl/green/id/web").isComplete)
        try store("one", "web")
        let line = refusal("nerdctl/blue/id/web")
        #expect(
            line
                == "cannot begin the state \"nerdctl/blue/id/web\": there is one of an older version, \"web\", which did "
                + "not scope containers' IDs (vtpmctl state rename web nerdctl/blue/id/web, or to another name if it is "
                + "not this container's)"
        )
        // The index knows it where its directory is lost.
        try #require(rename("\(temporary.path)/states/web", "\(temporary.path)/elsewhere") == 0)
        #expect(refusal("nerdctl/blue/id/web") == line)
        try #require(rename("\(temporary.path)/elsewhere", "\(temporary.path)/states/web") == 0)
        // One that has the new name already is used, whatever else there is.
        try store("two", "nerdctl/green/id/web")
        #expect(try open("nerdctl/green/id/web").isComplete)
        #expect(try load() == "one")
    }

    @Test func aStateComesBack() throws {
        try store("one")
        #expect(try load() == "one")
        try store("two")
        #expect(try load() == "two")
    }

    @Test func eachWriteIsAGeneration() throws {
        let store = try open().store
        for generation in 1...5 {
            try store.write(StatePayload(permanent: secretCopy(of: [1]), isComplete: true))
            #expect(store.generation == UInt64(generation))
        }
    }

    @Test func onlyRootMayReadIt() throws {
        try store("one")
        var status = stat()
        try #require(stat("\(temporary.path)/states/web/state", &status) == 0)
        #expect(status.st_mode & 0o777 == 0o600)
        try #require(stat("\(temporary.path)/states/web", &status) == 0)
        #expect(status.st_mode & 0o777 == 0o700)
    }

    @Test func aLostStateIsNoNewState() throws {
        try store("one")
        unlink("\(temporary.path)/states/web/state")
        #expect(try refusal().contains("it existed and is missing"))
    }

    @Test func aLeftoverOfACrashIsNoState() throws {
        try store("one")
        try temporary.write("states/web/state.new", Array("half a fi".utf8))
        #expect(try load() == "one")
        #expect(!temporary.exists("states/web/state.new"))
    }

    @Test func aBirthThatACrashInterruptedIsRepeated() throws {
        _ = try temporary.directory("states/.new-web")
        try temporary.write("states/.new-web/state.new", [1, 2, 3])
        #expect(try !open().payload.isComplete)
        #expect(!temporary.exists("states/.new-web"))
    }

    @Test func anotherMasterKeyIsRefused() throws {
        try store("one")
        #expect(try refusal(with: MasterKey(secret(2))).contains("it needs the master key"))
    }

    @Test func aCopyUnderAnotherNameIsRefused() throws {
        try store("one")
        _ = try open("db")
        try temporary.write("states/db/state", try temporary.read("states/web/state"))
        #expect(try refusal("db").contains("it is the state of \"web\""))
    }

    @Test func aLostDirectoryIsNoNewState() throws {
        try store("one")
        rename("\(temporary.path)/states/web", "\(temporary.path)/elsewhere")
        #expect(try refusal().contains("it existed and is missing"))
    }

    @Test func anOlderGenerationIsRefused() throws {
        try store("one")
        let old = try temporary.read("states/web/state")
        try store("two")
        let new = try temporary.read("states/web/state")
        try temporary.write("states/web/state", old)
        #expect(try refusal().contains("it is generation 1, older than the last one seen, 2"))
        try temporary.write("states/web/state", new)
        _ = try open()
    }

    @Test func anotherInstancesFileIsRefused() throws {
        try store("one")
        let first = try temporary.read("states/web/state")
        // The same ID under the same key, but made again: what a purge and a new start leave.
        _ = try ProgramLaunch("/bin/rm", ["rm", "-rf", "\(temporary.path)/states", "\(temporary.path)/index"]).start()
            .wait()
        try store("two")
        try temporary.write("states/web/state", first)
        #expect(try refusal().contains("this host's index knows"))
    }

    @Test func aStateThatWasCopiedHereIsRefused() throws {
        try store("one")
        _ = try open("other")
        let other = try TemporaryDirectory()
        _ = try ProgramLaunch("/bin/cp", ["cp", "-a", "\(temporary.path)/states", other.path]).start().wait()
        rename("\(temporary.path)/states/web", "\(temporary.path)/web")
        _ = try ProgramLaunch("/bin/rm", ["rm", "-rf", "\(temporary.path)/states", "\(temporary.path)/index"]).start()
            .wait()
        try store("here", "other")
        rename("\(temporary.path)/web", "\(temporary.path)/states/web")
        #expect(try refusal().contains("this host's index does not know it"))
    }

    @Test func aKeyIsChangedWhileItIsInUse() throws {
        try store("one")
        let opened = try open().store
        let next = try MasterKey(secret(2))
        try opened.rekey(to: next)
        try opened.write(StatePayload(permanent: secretCopy(of: Array("two".utf8)), isComplete: true))
        // The index still is under the key that it was made with.
        try opened.recordUse()
        #expect(try StateFile(parsing: temporary.read("states/web/state"), path: "").keyID == next.id)
    }

    @Test func aStateGoesToTheCurrentKeyWithItsNextWrite() throws {
        try store("one")
        let ring = KeyRing(try MasterKey(secret(2)), previous: master)
        let user = try user()
        let until = Deadline(milliseconds: 30_000)
        let opened = try StateStore.open("web", in: repository(ring), for: user, until: until)
        #expect(opened.payload.permanent.count == 3)
        try opened.store.write(opened.payload)
        #expect(try StateFile(parsing: temporary.read("states/web/state"), path: "").keyID == ring.current.id)
    }

    @Test func aLinkInItsPlaceIsRefused() throws {
        try store("one")
        rename("\(temporary.path)/states/web/state", "\(temporary.path)/elsewhere")
        symlink("\(temporary.path)/elsewhere", "\(temporary.path)/states/web/state")
        #expect(try refusal().contains("cannot open"))
    }

    @Test func aSecondUserIsToldOfTheFirst() throws {
        var first: StateStore? = try open(for: user("first")).store
        let text = try refusal()
        #expect(text.contains("container \"first\" uses it (init \(getpid()), supervisor \(getpid()))"), "\(text)")
        withExtendedLifetime(first) {}
        first = nil
        let deadline = Deadline(milliseconds: 30_000)
        while (try? open()) == nil { try #require(!deadline.hasPassed, "the lock is still held") }
    }

    @Test func aUserWhoseContainerIsDeadIsWaitedFor() throws {
        let child = try RunningProgram(ProgramLaunch("/bin/true", ["true"]))
        let identity = try ProcessID(of: child.process)
        _ = try child.wait()
        let dead = StateUser(containerID: "first", initProcess: identity, supervisor: 1)
        let first = try open(for: dead).store
        // It does not let go before the deadline, which is what the error shows: it was not refused at once.
        #expect(try refusal(timeout: 200).contains("container \"first\" uses it"))
        withExtendedLifetime(first) {}
    }
}
