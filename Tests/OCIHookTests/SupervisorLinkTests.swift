import Foundation
import Glibc
import Platform
import RuntimeControl
import RuntimeLease
import RuntimeState
import Testing

@testable import OCIHook

/// The hook's side of a supervisor that ends before the container is complete.
///
/// The test is the supervisor's end of the channel; a process that ends by itself stands in for its program.
@Suite final class SupervisorLinkTests {
    private let path: String
    private let runDirectory: Descriptor

    init() throws {
        path = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString).path
        try FileManager.default.createDirectory(atPath: "\(path)/lease", withIntermediateDirectories: true)
        try Data("a socket".utf8).write(to: URL(fileURLWithPath: "\(path)/lease/\(ControlSocket.name)"))
        runDirectory = try .open(path, .directory)
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    private var leftovers: Leftovers {
        Leftovers(on: HostPaths(below: path, programs: "/nowhere"), HookSetting())
    }

    private var hasLease: Bool { FileManager.default.fileExists(atPath: "\(path)/lease") }

    private func openLease() throws -> OpenLease {
        guard let lease = try OpenLease.open("lease", in: runDirectory) else {
            throw Failure("cannot test", because: "there is no lease")
        }
        return lease
    }

    private func link(over channel: Channel) throws -> SupervisorLink {
        SupervisorLink(to: try ProgramLaunch("/bin/true", ["true"]).start(), over: channel)
    }

    /// A channel whose far end has said these words, and is closed.
    private func deserted(
        saying words: String?,
        afterStart: Bool = false,
        leavingUnread: Bool = false
    ) throws -> Channel {
        let near = try left(saying: words, afterStart: afterStart, leavingUnread: leavingUnread)
        // A program that another test starts has a copy of the far end for a moment.
        var closed = pollfd(fd: near.descriptor.number, events: 0, revents: 0)
        try #require(poll(&closed, 1, 60_000) == 1 && closed.revents & Int16(POLLHUP) != 0)
        return near
    }

    private func left(saying words: String?, afterStart: Bool, leavingUnread: Bool) throws -> Channel {
        let pair = try Channel.pair(near: "hook", far: "supervisor")
        if leavingUnread { try pair.near.send(HookRequest.commit) }
        if afterStart { try pair.far.send(HookReply.started(worker: getpid())) }
        if let words {
            try Array(words.utf8).withUnsafeBytes {
                try pair.far.send(kind: HookReply.Kind.failure.rawValue, $0)
            }
        }
        // What was not read is told only of an end that is closed without this.
        if !leavingUnread { #expect(shutdown(pair.far.descriptor.number, CInt(SHUT_RDWR)) == 0) }
        return pair.near
    }

    private func begin(_ link: SupervisorLink) throws(Failure) {
        let me = try ProcessID(of: getpid())
        let request = StartRequest(
            storage: .ephemeral,
            containerID: "web",
            bundle: path,
            leaseName: "lease",
            initProcess: me,
            keys: .none
        )
        let key = try SecretBytes(capacity: MasterKey.size)
        try MasterKey.fillRandom(key)
        try link.begin(
            request,
            keys: [MasterKey(key)],
            launch: nil,
            runDirectory: runDirectory,
            container: ContainerWatch(initProcess: .open("/proc/self", .directory), cgroupEvents: nil),
            directories: []
        )
    }

    @Test func `a predecessor's lease stays where there was no request`() throws {
        let pair = try Channel.pair(near: "hook", far: "supervisor")
        try link(over: pair.near).abandonUnlessCommitted(in: runDirectory, leftovers)
        #expect(hasLease)
    }

    @Test func `a supervisor's lease goes with it`() throws {
        let pair = try Channel.pair(near: "hook", far: "supervisor")
        let link = try link(over: pair.near)
        try begin(link)
        link.abandonUnlessCommitted(in: runDirectory, leftovers)
        withExtendedLifetime(pair) {}
        #expect(!hasLease)
    }

    /// Its own supervisor has ended: what is locked is another container's, which has been created since.
    @Test func `a successor's lease stays`() throws {
        let pair = try Channel.pair(near: "hook", far: "supervisor")
        let link = try link(over: pair.near)
        try begin(link)
        let successor = try openLease()
        #expect(try successor.lock())
        link.abandonUnlessCommitted(in: runDirectory, leftovers)
        withExtendedLifetime(pair) {}
        #expect(hasLease)
    }

    /// What the supervisor hands over is its lease, whatever the name leads to.
    @Test func `a successor's lease is neither written nor removed`() throws {
        let pair = try Channel.pair(near: "hook", far: "supervisor")
        let link = try link(over: pair.near)
        try begin(link)
        let own = try openLease()
        let ready = HookReply.ready(StartedTPM(library: LibraryVersion(0, 9, 2)))
        try pair.far.send(ready, descriptors: [own.directory.number])
        let started = try link.awaitReady { () throws(Failure) in throw Failure("no", because: "authority is asked for")
        }
        #expect(rename("\(path)/lease", "\(path)/aside") == 0)
        try FileManager.default.createDirectory(atPath: "\(path)/lease", withIntermediateDirectories: true)
        let me = try ProcessID(of: getpid())
        try link.write(
            Lease(
                containerID: "web",
                bundle: path,
                stateID: nil,
                initProcess: me,
                supervisor: me,
                worker: me,
                library: started.library,
                tpmNumber: 0,
                tpm: "10:224",
                tpmrm: "253:65536"
            )
        )
        #expect(try own.read()?.library == LibraryVersion(0, 9, 2))
        link.abandonUnlessCommitted(in: runDirectory, leftovers)
        withExtendedLifetime(pair) {}
        #expect(hasLease)
        #expect(try FileManager.default.contentsOfDirectory(atPath: "\(path)/aside") == [])
    }

    /// The kernel tells in two ways that a supervisor has ended: EPIPE, and ECONNRESET where it had not read everything.
    ///
    /// Its first word can be that its worker is started.
    @Test(arguments: [false, true], [false, true])
    func `what a supervisor said before it ended is the error`(leavesUnread: Bool, isLate: Bool) throws {
        let words = "cannot start the worker: no"
        let link = try link(over: deserted(saying: words, afterStart: isLate, leavingUnread: leavesUnread))
        let error = #expect(throws: Failure.self) { try begin(link) }
        #expect(error?.description == words)
        link.abandonUnlessCommitted(in: runDirectory, leftovers)
        #expect(hasLease)
    }

    @Test(arguments: [false, true])
    func `a supervisor that ended without a word is named`(leavesUnread: Bool) throws {
        let link = try link(over: deserted(saying: nil, leavingUnread: leavesUnread))
        let error = #expect(throws: Failure.self) { try begin(link) }
        #expect(error?.description.contains("the supervisor ended") == true)
        link.abandonUnlessCommitted(in: runDirectory, leftovers)
    }
}
