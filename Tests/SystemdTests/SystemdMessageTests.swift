import Platform
import RuntimeControl
import Systemd
import Testing

@Suite struct SystemdMessageTests {
    private let buffer = Channel.makeBuffer()

    static let unit = UnitProperties(
        name: "box-1.scope",
        activeState: "activating",
        controlGroup: "/machine.slice/box-1.scope",
        devicePolicy: "strict",
        deviceAllow: [
            DeviceRule(device: "/dev/char/1:3", access: "rwm"), DeviceRule(device: "char-pts", access: "rw"),
        ],
        programs: [PinnedProgram(type: "device", path: "/sys/fs/bpf/crun/box-1_scope")]
    )

    /// A message that must have come, for which `#require` has no form since it cannot be copied.
    private struct Received: ~Copyable {
        let message: Message

        init(_ message: consuming Message?) throws {
            guard let message else { throw Failure("cannot receive", because: "the channel is closed") }
            self.message = message
        }
    }

    @Test(arguments: [
        SystemdRequest.unit("box-1.scope"),
        .allow([DeviceNumber(major: 10, minor: 224), DeviceNumber(major: 253, minor: 65536)], unit: "box-1.scope"),
        .startScope(
            "vtpm-1.scope",
            [
                UnitProperty("Description", .text("a TPM")),
                UnitProperty("SendSIGKILL", .flag(false)),
                UnitProperty("TasksMax", .number(.max)),
                UnitProperty("Before", .texts(["a.scope", "b.scope"])),
                UnitProperty("PIDs", .processes([1, .max])),
            ]
        ),
        .startScope("vtpm-1.scope", []),
        .version,
    ])
    func `a request arrives as it was sent`(_ request: SystemdRequest) throws {
        let pair = try Channel.pair(near: "client", far: "service")
        try pair.near.send(request)
        let received = try Received(try pair.far.receive(into: buffer))
        #expect(SystemdRequest(received.message) == request)
    }

    @Test(arguments: [SystemdResponse.unit(unit), .noUnit, .version("257.13-1~deb13u1")])
    func `a response arrives as it was sent`(_ response: SystemdResponse) throws {
        let pair = try Channel.pair(near: "client", far: "service")
        try pair.far.send(response)
        let received = try Received(try pair.near.receive(into: buffer))
        #expect(SystemdResponse(received.message) == response)
    }
}
