import Glibc
import Platform
import RuntimeControl
import Testing

@testable import RuntimeConfinement

/// A worker that its tenant has taken over attacks from behind the real confinement, with a real supervisor before it.
@Suite(.serialized) struct HostileWorkerTests {
    let temporary: TemporaryDirectory

    init() throws {
        temporary = try TemporaryDirectory()
        unlink("/tmp/hostile")
    }

    static let program = VTPMUnderTest.program("HostileWorker")

    struct Order: CustomTestStringConvertible {
        let number: Int
        let name: String
        let reason: String
        var testDescription: String { name }

        /// Whether it is what the supervisor gives as its reason; scalars, since a character has no end of its own.
        func isReason(_ text: String) -> Bool { text.unicodeScalars.contains(reason.unicodeScalars) }

        /// TPM2_GetRandom of so many bytes.
        var command: [UInt8] {
            Array(getRandom.prefix(10)) + [UInt8(number >> 8), UInt8(number & 0xff)]
        }
    }

    /// The fixture's own list.
    static let orders: [Order] = {
        var ends: [CInt] = [-1, -1]
        guard pipe(&ends) == 0 else { return [] }
        var launch = ProgramLaunch(program, ["HostileWorker", "--list"])
        launch.standardOutput = ends[1]
        let child = try? RunningProgram(launch)
        close(ends[1])
        let list = try? Descriptor(owning: ends[0]).readAll(limit: 65536, "the list of attacks")
        _ = try? child?.wait()
        return String(decoding: list ?? [], as: UTF8.self).split(separator: "\n").compactMap { line in
            let parts = line.split(separator: "\t").map(String.init)
            guard parts.count >= 2, let number = Int(parts[0]) else { return nil }
            return Order(number: number, name: parts[1], reason: parts.count > 2 ? parts[2] : "")
        }
    }()

    static func orders(from first: Int) -> [Order] {
        orders.filter { $0.number & ~0xff == first }
    }

    func start(_ stateID: String = "web", worker: String? = nil) throws -> VTPMUnderTest {
        let tpm = try VTPMUnderTest(in: temporary, stateID: stateID, worker: worker)
        try tpm.create()
        return tpm
    }

    @Test func theListIsThere() {
        #expect(Self.orders(from: 0xa000).count > 30)
        #expect(Self.orders(from: 0xa100).count == 16)
        #expect(Self.orders(from: 0xa200).count == 1 && Self.orders(from: 0xa300).count == 1)
    }

    /// The worker does not live to see the result of its attack, the TPM fails, and nobody else notices.
    @Test(arguments: orders(from: 0xa000)) func anAttackIsTheEnd(_ order: Order) throws {
        let neighbour = try start("neighbour")
        let tpm = try start(worker: Self.program)
        #expect(try tpm.transmit(getRandom).count == 20)
        #expect(try tpm.transmit(order.command) == failureResponse)
        let status = try tpm.status()
        #expect(status.health == .failed)
        #expect(order.isReason(status.reason), "\(status.reason)")
        #expect(try tpm.transmit(getRandom) == failureResponse)
        #expect(try neighbour.transmit(getRandom).count == 20)
        #expect(access("/tmp/hostile", F_OK) != 0)
        try tpm.stop()
        // What it had stored before is still there and still its own.
        let again = try start()
        #expect(try again.transmit(getRandom).count == 20)
        try again.stop()
        try neighbour.stop()
    }

    /// The supervisor takes nothing from a worker that does not keep to what they have agreed on.
    @Test(arguments: orders(from: 0xa100)) func aWorkerThatViolatesTheProtocolIsEnded(_ order: Order) throws {
        let tpm = try start(worker: Self.program)
        let before = try peakMemory(of: tpm.supervisor.process)
        // The worker gives no answer, it waits for its end: this is the supervisor's.
        #expect(try tpm.transmit(order.command) == failureResponse)
        for _ in 0..<2 {
            let status = try tpm.status()
            #expect(status.health == .failed)
            #expect(order.isReason(status.reason), "\(status.reason.cut(toBytes: 200))")
            #expect(status.reason.utf8.count <= Failure.relayedLimit)
        }
        #expect(try tpm.transmit(getRandom) == failureResponse)
        #expect(try peakMemory(of: tpm.supervisor.process) - before < 1024, "KiB more in the supervisor")
        #expect(try tpm.stop() == .exited(0))
    }

    @Test func memoryHasABound() throws {
        let tpm = try start(worker: Self.program)
        let order = try #require(Self.orders(from: 0xa200).first)
        #expect(try tpm.transmit(order.command).count > 10)
        let peak = try peakMemory(of: tpm.worker)
        // It got some, so that the attack is known to have taken place, and not all of the 1 GiB that it tried.
        #expect(peak > 32 * 1024 && peak < 96 * 1024, "\(peak) KiB")
        #expect(try tpm.transmit(getRandom).count == 20)
        try tpm.stop()
    }

    /// A supervisor whose worker says nothing any more still answers and stops.
    @Test func aSilentWorkerStopsNobody() throws {
        let tpm = try start(worker: Self.program)
        let order = try #require(Self.orders(from: 0xa300).first)
        try #require(send(tpm.device, order.command, order.command.count, 0) == order.command.count)
        #expect(try wait(for: tpm.device, until: Deadline(milliseconds: 200)) == 0)
        #expect(try tpm.status().health == .serving)
        #expect(try tpm.stop() == .exited(0))
    }

    /// The most memory that a process has had, in KiB.
    func peakMemory(of process: pid_t) throws -> Int {
        let field = try Procfs().status(of: process)["VmHWM"]?.split(separator: " ").first
        return try #require(field.flatMap { Int($0) })
    }
}
