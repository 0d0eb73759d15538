import CLinux
import Glibc
import Platform
import RuntimeControl
import RuntimeLease
import RuntimeState
import Testing

// Other keys, and states of other generations.
extension VTPMTests {
    @Test func anotherKeyIsRefusedWithAReason() throws {
        try start().stop()
        let before = try temporary.read("states/web/state")
        let tpm = try VTPMUnderTest(in: temporary, keys: [2])
        let answer = try tpm.hear()
        #expect(answer.kind == .failure)
        #expect(String(decoding: answer.body, as: UTF8.self).contains("needs the master key"))
        #expect(try tpm.reap() == .exited(1))
        #expect(try temporary.read("states/web/state") == before)
        #expect(try entries(of: temporary.directory("run"), "") == [])
    }

    @Test func theKeyIsChangedWhileItRuns() throws {
        let tpm = try start()
        let identity = try tpm.endorsementKey()
        let header = { try StateFile(parsing: temporary.read("states/web/state"), path: "") }
        let generation = try header().generation
        let channel = try ControlSocket.connect(in: temporary.directory("run/lease-web"))
        try channel.send(ControlRequest.rekey, secret(2))
        #expect(try channel.receive(into: tpm.buffer)?.kind == ControlReply.Kind.rekeyed.rawValue)
        #expect(try header().keyID == MasterKey(secret(2)).id)
        #expect(try header().generation == generation + 1)
        try tpm.run("tpm2_nvdefine -Q 0x1500001 -C o -s 7 -a 'ownerread|ownerwrite'")
        try tpm.run("printf content | tpm2_nvwrite -Q 0x1500001 -C o -i -")
        #expect(try tpm.stop() == .exited(0))
        // The index is under the key before: both are known during a rotation.
        let again = try VTPMUnderTest(in: temporary, keys: [2, 1])
        try again.create()
        #expect(try again.endorsementKey() == identity)
        let content = try again.run("tpm2_nvread 0x1500001 -C o -s 7")
        #expect(content == "content")
        #expect(try again.stop() == .exited(0))
    }

    @Test func aKeyThatIsNoneChangesNothing() throws {
        let tpm = try start()
        let before = try temporary.read("states/web/state")
        let channel = try ControlSocket.connect(in: temporary.directory("run/lease-web"))
        try channel.send(ControlRequest.rekey, secretCopy(of: [1, 2, 3]))
        #expect(try channel.receive(into: tpm.buffer)?.kind == ControlReply.Kind.failure.rawValue)
        #expect(try temporary.read("states/web/state") == before)
        #expect(try tpm.status().health == .serving)
    }

    func refusal() throws -> String {
        let tpm = try VTPMUnderTest(in: temporary)
        let answer = try tpm.hear()
        try #require(answer.kind == .failure)
        #expect(try tpm.reap() == .exited(1))
        return String(decoding: answer.body, as: UTF8.self)
    }

    /// The stop is remembered, and not only the start.
    @Test func aStateFromBeforeTheLastStopIsRefused() throws {
        let tpm = try start()
        let running = try temporary.read("states/web/state")
        try tpm.run("tpm2_nvdefine -Q 0x1500001 -C o -s 7")
        try tpm.stop()
        try temporary.write("states/web/state", running)
        #expect(try refusal().contains("older than the last one seen"))
    }

    /// The start is remembered, also where no stop came.
    @Test func aStateFromBeforeTheLastStartIsRefused() throws {
        try start().stop()
        let stopped = try temporary.read("states/web/state")
        let tpm = try start()
        tpm.supervisor.kill()
        _ = try tpm.reap()
        kill(tpm.worker, SIGKILL)
        let crashed = try temporary.read("states/web/state")
        try temporary.write("states/web/state", stopped)
        #expect(try refusal().contains("older than the last one seen"))
        try temporary.write("states/web/state", crashed)
        try start().stop()
    }

    /// What was put there while the TPM runs is not made its own by a change of keys.
    @Test func anothersFileIsNotRekeyed() throws {
        try start("db").stop()
        let tpm = try start()
        let older = try temporary.read("states/web/state")
        try tpm.run("tpm2_nvdefine -Q 0x1500001 -C o -s 7")
        let own = try temporary.read("states/web/state")
        let others = try temporary.read("states/db/state")
        for file in [older, others, Array(own.dropLast())] {
            try temporary.write("states/web/state", file)
            let channel = try ControlSocket.connect(in: temporary.directory("run/lease-web"))
            try channel.send(ControlRequest.rekey, secret(2))
            #expect(try channel.receive(into: tpm.buffer)?.kind == ControlReply.Kind.failure.rawValue)
            #expect(try temporary.read("states/web/state") == file)
        }
    }

    @Test func anOlderStateIsRefusedWithAReason() throws {
        try start().stop()
        let older = try temporary.read("states/web/state")
        try start().stop()
        try temporary.write("states/web/state", older)
        let text = try refusal()
        #expect(text.contains("older than the last one seen") && text.contains("vtpmctl state accept"), "\(text)")
        #expect(try temporary.read("states/web/state") == older)
    }
}
