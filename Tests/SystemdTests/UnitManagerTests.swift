import Glibc
import Platform
import Systemd
import Testing

@testable import SystemdBus

/// What is asked of systemd, and what is made of its answers: libsystemd talks with a fixture.
@Suite(.enabled(if: (try? SystemdLibrary()) != nil, "needs libsystemd"))
struct UnitManagerTests {
    private static let devices = [DeviceNumber(major: 10, minor: 224), DeviceNumber(major: 253, minor: 65536)]

    @Test func `the properties of a unit are read`() throws {
        let peer = try Peer("plain")
        #expect(
            try peer.manager().respond(to: .unit("box.scope"))
                == .unit(
                    UnitProperties(
                        name: "box.scope",
                        controlGroup: "/machine.slice/box.scope",
                        devicePolicy: "strict",
                        deviceAllow: [DeviceRule(device: "/dev/char/1:3", access: "rwm")],
                        programs: [PinnedProgram(type: "device", path: "/sys/fs/bpf/crun/box_scope")]
                    )
                )
        )
    }

    @Test func `a unit that does not exist is no error`() throws {
        let peer = try Peer("plain")
        let manager = try peer.manager()
        #expect(manager.respond(to: .unit("other.scope")) == .noUnit)
        #expect(manager.respond(to: .version) == .version("257.13-1~deb13u1"))
    }

    @Test func `a systemd without BPFProgram has no pinned programs`() throws {
        let peer = try Peer("old")
        guard case .unit(let unit) = try peer.manager().respond(to: .unit("box.scope")) else {
            Issue.record("no unit")
            return
        }
        #expect(unit.programs.isEmpty)
    }

    @Test func `devices are added to those that the unit has`() throws {
        let peer = try Peer("plain")
        guard case .unit(let unit) = try peer.manager().respond(to: .allow(Self.devices, unit: "box.scope")) else {
            Issue.record("no unit")
            return
        }
        #expect(unit.deviceAllow.map(\.device) == ["/dev/char/1:3", "/dev/char/10:224", "/dev/char/253:65536"])
        #expect(Self.devices.allSatisfy(unit.allows))
        #expect(!unit.allows(DeviceNumber(major: 1, minor: 5)))
    }

    @Test(arguments: [
        ("refuses", "Permission denied"), ("other-type", "No such device or address"),
        ("too-long", "a list is too long"),
    ])
    func `systemd's refusal, and an answer that is none, are failures`(behaviour: String, why: String) throws {
        let peer = try Peer(behaviour)
        guard case .failure(let failure) = try peer.manager().respond(to: .allow(Self.devices, unit: "box.scope"))
        else {
            Issue.record("no failure")
            return
        }
        #expect(failure.why == why)
    }

    @Test func `a connection that systemd closes is a failure`() throws {
        let peer = try Peer("closes")
        let manager = try peer.manager()
        for _ in 0..<2 {
            guard case .failure = manager.respond(to: .version) else {
                Issue.record("no failure")
                return
            }
        }
    }

    @Test func `a scope is started and stopped`() throws {
        let peer = try Peer("plain")
        let manager = try peer.manager()
        let properties = [
            UnitProperty("Description", .text("a TPM")), UnitProperty("SendSIGKILL", .flag(false)),
            UnitProperty("TasksMax", .number(64)), UnitProperty("Before", .texts(["a.scope", "b.scope"])),
            UnitProperty("PIDs", .processes([1, 2])),
        ]
        guard case .unit(let unit) = manager.respond(to: .startScope("box.scope", properties)) else {
            Issue.record("no unit")
            return
        }
        #expect(unit.activeState == "active")
    }

    @Test func `a scope that fails is told from one that is active`() throws {
        let peer = try Peer("failed")
        guard case .unit(let unit) = try peer.manager().respond(to: .startScope("box.scope", [])) else {
            Issue.record("no unit")
            return
        }
        #expect(unit.activeState == "failed")
    }

    @Test func `a socket that is another process's is refused`() throws {
        let peer = try Peer("plain")
        let failure = try #require(throws: Failure.self) { _ = try ManagerConnection(to: .init(socket: peer.socket)) }
        #expect(failure.what == "cannot connect to systemd")
        #expect(failure.why == "\(peer.socket) is process \(peer.process)'s, of user \(geteuid())")
    }

    @Test func `a host without the socket is told`() throws {
        let failure = try #require(throws: Failure.self) { _ = try ManagerConnection(to: .init(socket: "/nowhere/s")) }
        #expect(failure.description == "cannot connect to systemd: connect to /nowhere/s: No such file or directory")
    }
}

/// The fixture, until it is no longer needed.
private final class Peer {
    let socket: String
    let process: pid_t
    private let directory: String
    private var child: ChildProcess?

    init(_ behaviour: String) throws {
        var template = Array("/tmp/vtpm-systemd-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw Failure("cannot make a directory", call: "mkdtemp", code: errno) }
        directory = String(decoding: template.dropLast().map { UInt8(truncatingIfNeeded: $0) }, as: UTF8.self)
        socket = "\(directory)/private"
        let folder = #filePath.split(separator: "/").dropLast().reduce("") { "\($0)/\($1)" }
        var ends: [CInt] = [-1, -1]
        try systemCall("pipe", "cannot test") { pipe(&ends) }
        let output = Descriptor(owning: ends[0])
        let input = Descriptor(owning: ends[1])
        var launch = ProgramLaunch("\(folder)/Fixtures/systemd-peer", ["systemd-peer", socket, behaviour])
        launch.standardOutput = input.number
        let started = try launch.start()
        process = started.process
        child = consume started
        var byte: UInt8 = 0
        guard read(output.number, &byte, 1) == 1 else { throw Failure("cannot test", because: "the fixture ended") }
    }

    deinit {
        switch child.take() {
        case .none: break
        case .some(let child): _ = try? child.end()
        }
        unlink(socket)
        rmdir(directory)
    }

    func manager() throws -> UnitManager {
        UnitManager(try ManagerConnection(to: .init(socket: socket, process: process, user: geteuid())))
    }
}
