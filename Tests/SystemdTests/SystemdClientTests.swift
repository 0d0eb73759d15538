import Glibc
import Platform
import RuntimeControl
import Testing

@testable import Systemd

/// What the client makes of its child's answers; the test has the child's end of the channel.
@Suite struct SystemdClientTests {
    private static let tpm = DeviceNumber(major: 10, minor: 224)
    private static let name = "box.scope"

    /// Calls a client whose child has given this answer before it was asked.
    private func ask<Answer>(
        answering response: SystemdResponse,
        _ body: (SystemdClient, Channel) throws -> Answer
    ) throws -> Answer {
        let pair = try Channel.pair(near: "client", far: "vtpm-systemd")
        try pair.far.send(response)
        let client = SystemdClient(to: try ProgramLaunch("/bin/true", ["true"]).start(), over: pair.near)
        defer { client.end() }
        return try body(client, pair.far)
    }

    /// Returns the failure of a call whose child has given this answer.
    private func failure(
        answering response: SystemdResponse,
        _ body: (SystemdClient) throws -> Void
    ) throws -> Failure {
        try ask(answering: response) { client, _ in try #require(throws: Failure.self) { try body(client) } }
    }

    private func unit(_ name: String = name, rules: [DeviceRule] = []) -> SystemdResponse {
        .unit(UnitProperties(name: name, controlGroup: "/\(name)", deviceAllow: rules))
    }

    @Test func `a grant counts only if the unit lists the device afterwards`() throws {
        let others = [
            ("/dev/char/10:224", "r"), ("/dev/char/10:22", "rw"), ("/dev/block/10:224", "rw"), ("char-*", "rw"),
        ]
        for rules in [[]] + others.map({ [DeviceRule(device: $0.0, access: $0.1)] }) {
            let failure = try failure(answering: unit(rules: rules)) { try $0.allow([Self.tpm], in: Self.name) }
            #expect(failure.what == "cannot add 10:224 to the devices of systemd's unit box.scope")
            #expect(failure.why == "it does not list them afterwards")
        }
        let allowed = unit(rules: [DeviceRule(Self.tpm)])
        let after = try ask(answering: allowed) { client, _ in try client.allow([Self.tpm], in: Self.name) }
        #expect(after.allows(Self.tpm))
    }

    @Test func `an answer about another unit is refused`() throws {
        for response in [unit("other.scope", rules: [DeviceRule(Self.tpm)]), .version("257")] {
            for call in [{ try $0.allow([Self.tpm], in: Self.name) }, { _ = try $0.unit(Self.name) }]
                as [(SystemdClient) throws -> Void]
            {
                #expect(try failure(answering: response, call).why == "the answer is about something else")
            }
        }
    }

    @Test func `a scope that did not become active is an error`() throws {
        let failed = UnitProperties(name: Self.name, activeState: "failed", controlGroup: "")
        for (response, why) in [(SystemdResponse.unit(failed), "it is failed"), (.noUnit, "it ended at once")] {
            let failure = try failure(answering: response) {
                try $0.beginScope(Self.name, [])
                _ = try $0.awaitScope(Self.name)
            }
            #expect(failure.why == why)
        }
    }

    @Test func `systemd's own words are in the error`() throws {
        let response = SystemdResponse.failure(Failure("cannot call SetUnitProperties", because: "Permission denied"))
        let failure = try failure(answering: response) { try $0.allow([Self.tpm], in: Self.name) }
        #expect(failure.why == "Permission denied")
        #expect(failure.hint?.contains("systemctl show") == true)
    }

    @Test func `a message that is none ends the child`() throws {
        try ask(answering: .noUnit) { (client, far) throws in
            #expect(try client.unit(Self.name) == nil)
            try far.send(kind: 99)
            let failure = try #require(throws: Failure.self) { try client.unit(Self.name) }
            #expect(failure.why == "vtpm-systemd gave an answer that is none")
            // A late answer is not taken for that to the next request.
            _ = try? far.send(unit())
            #expect(throws: Failure.self) { try client.unit(Self.name) }
        }
    }

    @Test func `a child that ended is told`() throws {
        let pair = try Channel.pair(near: "client", far: "vtpm-systemd")
        let client = SystemdClient(to: try ProgramLaunch("/bin/true", ["true"]).start(), over: pair.near)
        defer { client.end() }
        #expect(shutdown(pair.far.descriptor.number, CInt(SHUT_RDWR)) == 0)
        #expect(throws: Failure.self) { try client.version() }
    }

    @Test func `a unit denies devices with a policy or with a first rule`() {
        var unit = UnitProperties(name: Self.name, controlGroup: "/x")
        #expect(!unit.restrictsDevices)
        unit.deviceAllow = [DeviceRule(Self.tpm)]
        #expect(unit.restrictsDevices)
        unit.deviceAllow = []
        unit.devicePolicy = "closed"
        #expect(unit.restrictsDevices)
    }
}
