import Configuration
import Foundation
import Glibc
import Platform
import RuntimeControl
import RuntimeKeys
import RuntimeLease
import RuntimeState
import Testing

@testable import OCIHook

/// What hooks and supervisors leave that were killed together, and what others have put beside it.
@Suite final class LeftoversTests {
    private let path: String
    private let hostPaths: HostPaths
    private let runDirectory: Descriptor
    private let state: ContainerState
    private let leaseName: String

    init() throws {
        path = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString).path
        hostPaths = HostPaths(below: path, programs: "/nowhere")
        runDirectory = try openOwnDirectory(hostPaths.leases)
        state = try ContainerState(parsing: Array(#"{"id": "web", "pid": 0, "bundle": "/bundle"}"#.utf8))
        leaseName = try Lease.name(containerID: "web", bundle: "/bundle")
        try write("config.toml", "")
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    /// This process started at no such time.
    private let dead = ProcessID(process: getpid(), startTime: 1)

    private var setting: HookSetting { HookSetting(configurationPath: "\(path)/config.toml") }

    private var leftovers: Leftovers { Leftovers(on: hostPaths, setting) }

    private func write(_ name: String, _ text: String) throws {
        let options = OpenOptions(O_WRONLY | O_CREAT | O_TRUNC, mode: 0o600)
        try Descriptor.open("\(path)/\(name)", options).writeAll(Array(text.utf8), name)
    }

    private func leases() throws -> [String] { try Leases.names(in: runDirectory) }

    @discardableResult
    private func makeLease(
        _ name: String,
        of initProcess: ProcessID? = nil,
        number: UInt32 = 0,
        supervisor: ProcessID? = nil
    ) throws -> OpenLease {
        let opened = OpenLease(name, try openOwnDirectory("\(hostPaths.leases)/\(name)"))
        if supervisor == nil { _ = try ControlSocket.listen(in: opened.directory) }
        guard let initProcess else { return opened }
        let lease = Lease(
            containerID: name,
            bundle: "/bundle",
            stateID: nil,
            initProcess: initProcess,
            supervisor: supervisor ?? dead,
            worker: dead,
            library: LibraryVersion(0, 9, 2),
            tpmNumber: number,
            tpm: "10:224",
            tpmrm: "253:65536"
        )
        try opened.write(lease)
        return opened
    }

    /// Which leases are read, and what is said of those that cannot be.
    private func read() throws -> (found: [String], problems: [String]) {
        var found: [String] = []
        let problems = try Leases.each(in: runDirectory) { (opened, lease) throws(Failure) in
            found.append(lease == nil ? "\(opened.name), unfinished" : opened.name)
        }
        return (found, problems.map(\.description))
    }

    @Test func `a lease is removed by the file that it is`() throws {
        let old = try makeLease("lease", of: dead)
        #expect(rename("\(hostPaths.leases)/lease", "\(path)/aside") == 0)
        try makeLease("lease", of: dead)
        try old.remove(from: runDirectory)
        #expect(try read().found == ["lease"])
        // Its own files go all the same.
        #expect(try FileManager.default.contentsOfDirectory(atPath: "\(path)/aside") == [])
        try OpenLease.open("lease", in: runDirectory)?.remove(from: runDirectory)
        #expect(try leases() == [])
    }

    @Test func `what nobody owns any more is removed`() throws {
        let me = try ProcessID(of: getpid())
        try makeLease("half-way")
        try makeLease("left", of: dead)
        try makeLease("living", of: me)
        // Its supervisor works on it.
        let begun = try makeLease("begun")
        #expect(try begun.lock())
        leftovers.removeAll(in: runDirectory)
        #expect(try leases() == ["begun", "living"])
        withExtendedLifetime(begun.name) {}
    }

    @Test func `poststop removes what was left half-way`() throws {
        try makeLease(leaseName)
        try Removal(of: state, on: hostPaths, setting).run()
        #expect(try leases() == [])
    }

    @Test func `poststop leaves a creation alone that goes on`() throws {
        let lease = try makeLease(leaseName)
        #expect(try lease.lock())
        try Removal(of: state, on: hostPaths, setting).run()
        #expect(try leases() == [leaseName])
        withExtendedLifetime(lease.name) {}
    }

    /// Each bad entry is named, and the good ones before and after it are read.
    @Test func `a bad entry is named and passed over`() throws {
        let me = try ProcessID(of: getpid())
        try makeLease("0", of: me)
        try makeLease("z", of: me)
        try write("run/README", "not ours")
        try FileManager.default.createSymbolicLink(atPath: "\(path)/run/link", withDestinationPath: "0")
        try makeLease("junk")
        try write("run/junk/\(LeaseFiles.lease)", "{")
        try makeLease("list")
        _ = try openOwnDirectory("\(hostPaths.leases)/list/\(LeaseFiles.lease)")
        try makeLease("pipe")
        #expect(mkfifo("\(path)/run/pipe/\(LeaseFiles.lease)", 0o600) == 0)
        let (found, problems) = try read()
        #expect(found == ["0", "z"])
        #expect(
            problems == [
                "cannot open the lease README: openat2: Not a directory "
                    + "(it is none of ours: remove it from /run/container-vtpm)",
                "cannot read the lease junk: it is truncated (remove its directory once its container is gone)",
                "cannot open the lease link: openat2: Not a directory "
                    + "(it is none of ours: remove it from /run/container-vtpm)",
                "cannot read the lease list: it is no regular file",
                "cannot read the lease pipe: it is no regular file",
            ]
        )
        leftovers.removeAll(in: runDirectory)
        #expect(try read().found == ["0", "z"])
    }

    /// Makes a state as a supervisor does that is then killed, and leaves its lease.
    private func leaveState(_ stateID: String, by user: StateUser, isWritten: Bool = true) throws {
        let lease = try makeLease(leaseName)
        let host = try HostContext(hostPaths, Configuration(), credentialsDirectory: nil)
        let opened = try StateStore.open(
            stateID,
            in: host.repository(),
            for: user,
            until: Deadline(milliseconds: 30_000),
            making: { (uuid) throws(Failure) in
                // Who is killed between the two leaves a directory that nothing but the record leads to.
                #expect((try? stateNames.contains(stateID)) != true, "a directory is there before its record")
                try record(MadeState(stateID: stateID, uuid: uuid, user: user), in: lease)
            }
        )
        guard isWritten else { return }
        let permanent = try SecretBytes(capacity: 3)
        _ = permanent.append(copying: Array("TPM".utf8))
        try opened.store.write(StatePayload(permanent: permanent, isComplete: true))
        try opened.store.recordUse()
    }

    private func record(_ made: MadeState, in lease: borrowing OpenLease) throws(Failure) {
        let file = try Descriptor.open(
            LeaseFiles.madeState,
            .beneath(O_WRONLY | O_CREAT | O_TRUNC, mode: 0o600),
            at: lease.directory.number
        )
        try file.writeAll(made.encoded, LeaseFiles.madeState)
    }

    private var stateNames: [String] {
        get throws { try FileManager.default.contentsOfDirectory(atPath: hostPaths.states) }
    }

    @Test(arguments: [false, true])
    func `a state of a container that never came to be goes with its lease`(isWritten: Bool) throws {
        let user = StateUser(containerID: "web", initProcess: dead, supervisor: 1)
        try leaveState("web", by: user, isWritten: isWritten)
        #expect(try stateNames == ["web"])
        try Removal(of: state, on: hostPaths, setting).run()
        #expect(try leases() == [])
        #expect(try stateNames == [])
        // The next one finds nothing in its way.
        try leaveState("web", by: user)
    }

    /// Its supervisor was killed before the index had the state.
    @Test func `so does one of which there is but a directory`() throws {
        let user = StateUser(containerID: "web", initProcess: dead, supervisor: 1)
        let lease = try makeLease(leaseName)
        try record(MadeState(stateID: "web", uuid: [UInt8](repeating: 7, count: 16), user: user), in: lease)
        _ = try openOwnDirectory(hostPaths.states)
        _ = try openOwnDirectory("\(hostPaths.states)/web")
        try write("states/web/lock", "")
        #expect(try stateNames == ["web"])
        try Removal(of: state, on: hostPaths, setting).run()
        #expect(try leases() == [])
        #expect(try stateNames == [])
    }

    /// Its supervisor was killed before the state had its name, or while it got it.
    @Test func `so does one that was only being made`() throws {
        try leaveState("web", by: StateUser(containerID: "web", initProcess: dead, supervisor: 1), isWritten: false)
        #expect(rename("\(hostPaths.states)/web", "\(hostPaths.states)/.new-web") == 0)
        try Removal(of: state, on: hostPaths, setting).run()
        #expect(try leases() == [])
        #expect(try stateNames == [])
    }

    @Test func `the next creation removes it as well`() throws {
        try leaveState("web", by: StateUser(containerID: "web", initProcess: dead, supervisor: 1))
        leftovers.removeAll(in: runDirectory)
        #expect(try leases() == [])
        #expect(try stateNames == [])
    }

    @Test func `it stays while the container's init lives`() throws {
        let me = try ProcessID(of: getpid())
        try leaveState("web", by: StateUser(containerID: "web", initProcess: me, supervisor: 1))
        leftovers.removeAll(in: runDirectory)
        try Removal(of: state, on: hostPaths, setting).run()
        #expect(try leases() == [leaseName])
        #expect(try stateNames == ["web"])
    }

    @Test func `a state stays that somebody has used since`() throws {
        try leaveState("web", by: StateUser(containerID: "web", initProcess: dead, supervisor: 1))
        let host = try HostContext(hostPaths, Configuration(), credentialsDirectory: nil)
        _ = try StateStore.open(
            "web",
            in: host.repository(),
            for: StateUser(containerID: "web", initProcess: dead, supervisor: 2),
            until: Deadline(milliseconds: 30_000)
        )
        try Removal(of: state, on: hostPaths, setting).run()
        #expect(try leases() == [])
        #expect(try stateNames == ["web"])
    }

    /// A process stands for the supervisor, and a thread for its answers.
    @Test(arguments: [true, false])
    func `poststop kills a supervisor only if it says nothing`(answers: Bool) throws {
        let child = try ProgramLaunch("/bin/sleep", ["sleep", "infinity"]).start()
        defer {
            kill(child.process, SIGKILL)
            // An exit test of the same process waits for any child, and would see none but one that stays dead.
            waitpid(child.process, nil, 0)
        }
        let supervisor = try ProcessHandle(child.process)
        let lease = try makeLease(leaseName, of: dead, supervisor: ProcessID(of: child.process))
        let listener = try ControlSocket.listen(in: lease.directory)
        let isOver = IsOver()
        if answers {
            let number = dup(listener.number)
            Thread {
                let listener = Descriptor(owning: number)
                let buffer = Channel.makeBuffer()
                while !isOver.get {
                    guard let channel = try? ControlSocket.accept(from: listener) else {
                        usleep(1000)
                        continue
                    }
                    while let message = try? channel.receive(into: buffer) {
                        guard case .status? = ControlRequest(message) else { continue }
                        let status = VTPMStatus(health: .stopping, generation: 1, reason: "")
                        try? channel.send(ControlReply.status(status))
                    }
                }
            }.start()
        }
        try Removal(of: state, on: hostPaths, setting, timeout: 300).run()
        isOver.set()
        #expect(try supervisor.isAlive() == answers)
        #expect(try leases() == (answers ? [leaseName] : []))
        withExtendedLifetime(listener.number) {}
        withExtendedLifetime(lease.name) {}
    }

    /// Says to a thread that the test is over.
    private final class IsOver: @unchecked Sendable {
        private let lock = NSLock()
        private var isOver = false

        func set() { lock.withLock { isOver = true } }
        var get: Bool { lock.withLock { isOver } }
    }
}
