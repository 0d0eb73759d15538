import CLinux
import Glibc
import Platform
import RuntimeControl
import Testing

@testable import RuntimeState

/// The record of a stop in the host's index: what it has to wait for, and what comes of one that fails.
@Suite struct StopRecordTests {
    let temporary: TemporaryDirectory

    init() throws {
        temporary = try TemporaryDirectory()
    }

    /// The generation that the index has of the state.
    private func recorded() throws -> UInt64? {
        let keys = KeyRing(try MasterKey(secret(1)))
        let index = try HostIndex(in: temporary.directory("index"), path: "\(temporary.path)/index", keys: keys)
        return try index.entry("web")?.generation
    }

    private func store(_ tpm: VTPMUnderTest, _ number: UInt8) throws {
        let answer = try tpm.transmit(WorkerTests.defineSpace(number))
        #expect(answer.prefix(10).suffix(4).elementsEqual([0, 0, 0, 0]))
    }

    /// The signal of a wait before the confinement, which may be late, or anybody's: behind the filter a handler would end it.
    @Test func aSupervisorThatHasWaitedTakesNoSignalOfItsWait() throws {
        let other = try FileLock(
            HostIndex.lockName,
            in: temporary.directory("index"),
            until: Deadline(milliseconds: 60_000),
            "the index"
        )
        let number = try lockInode()
        let tpm = try VTPMUnderTest(in: temporary)
        try awaitWaiter(number)
        other.release()
        try tpm.create()
        #expect(kill(tpm.supervisor.process, SIGURG) == 0)
        #expect(try tpm.status().health == .serving)
        #expect(try tpm.stop() == .exited(0))
    }

    private func lockInode() throws -> UInt64 {
        UInt64(try Descriptor.open("\(temporary.path)/index/\(HostIndex.lockName)", .read).status("the lock").st_ino)
    }

    private func awaitWaiter(_ inode: UInt64) throws {
        let deadline = Deadline(milliseconds: 60_000)
        while try waiters(forInode: inode) == 0 {
            try #require(!deadline.hasPassed)
            usleep(5000)
        }
    }

    /// Somebody else writes the index for a long time; no poststop finds a supervisor that it would kill.
    @Test func aStopThatWaitsForTheIndexHasReleasedEverythingElse() throws {
        let tpm = try VTPMUnderTest(in: temporary)
        try tpm.create()
        try store(tpm, 1)
        let worker = try ProcessHandle(tpm.worker)
        let other = try FileLock(
            HostIndex.lockName,
            in: temporary.directory("index"),
            until: Deadline(milliseconds: 60_000),
            "the index"
        )
        let before = try StateFile(parsing: temporary.read("states/web/state"), path: "").generation
        tpm.initProcess.kill()
        // Behind its filter it looks again and again, and nothing but this tells that it has begun.
        let deadline = Deadline(milliseconds: 60_000)
        while temporary.exists("run/lease-web") {
            try #require(!deadline.hasPassed)
            usleep(5000)
        }
        #expect(try !worker.isAlive())
        #expect(recv(tpm.deviceNumber, nil, 0, CInt(MSG_DONTWAIT)) == 0, "the device is not released")
        // The state is its own still.
        let supervisor = try ProcessHandle(tpm.supervisor.process)
        #expect(try supervisor.isAlive())
        let states = try temporary.directory("states/web")
        #expect(try StateLock.user(in: states)?.containerID == "container-web")
        other.release()
        #expect(try tpm.reap() == .exited(0))
        let last = try #require(try recorded())
        #expect(last > before)
        #expect(try StateFile(parsing: temporary.read("states/web/state"), path: "").generation == last)
    }

    /// The log names the state, the reason and what mends it; the next start does, and nothing is lost.
    @Test func aStopThatCannotBeRecordedIsLoggedAndMendedByTheNextStart() throws {
        let daemon = try LogTests.Daemon("\(temporary.path)/log")
        let script = """
            mount -t tmpfs none /dev && mknod -m 0666 /dev/null c 1 3 && ln -s '\(temporary.path)/log' /dev/log && exec "$@"
            """
        let starter = ["/usr/bin/unshare", "--mount", "--propagation", "private", "/bin/sh", "-c", script, "sh"]
        let tpm = try VTPMUnderTest(in: temporary, starter: starter)
        try tpm.create()
        try store(tpm, 1)
        let root = try temporary.read("index/index")
        let early = try temporary.read("states/web/state")
        let before = try #require(try recorded())
        try store(tpm, 2)
        try temporary.write("index/index", Array("damaged".utf8))
        #expect(try tpm.stop() == .exited(0))
        let lines = daemon.lines().filter { $0.contains("could not record its stop") }
        try #require(lines.count == 1, "\(daemon.lines())")
        let text = "vTPM of container \"container-web\" could not record its stop: cannot load the index"
        #expect(lines[0].contains(text))
        let last = try StateFile(parsing: temporary.read("states/web/state"), path: "").generation
        #expect(lines[0].contains("; the next start of the state \"web\" records generation \(last)"))
        try temporary.write("index/index", root)
        #expect(try recorded() == before && before < last)

        let again = try VTPMUnderTest(in: temporary)
        try again.create()
        #expect(try recorded() ?? 0 >= last)
        #expect(try again.run("tpm2_getcap handles-nv-index").split(separator: "\n").count == 2)
        #expect(try again.stop() == .exited(0))
        // What was stored before the stop that was not recorded is an older state from then on.
        try temporary.write("states/web/state", early)
        let refused = try VTPMUnderTest(in: temporary)
        let answer = try refused.hear()
        #expect(String(decoding: answer.body, as: UTF8.self).contains("older than the last one seen"))
    }
}
