import Foundation
import Platform
import Proof
import RuntimeControl
import Testing

@testable import RuntimeHostTPM

/// A worker that was taken over by the state which it has loaded, so before anything is measured: what the host says does not come
/// from it.
@Suite struct TakenOverWorkerTests {
    let temporary: TemporaryDirectory

    init() throws { temporary = try TemporaryDirectory() }

    /// The fixture, under the name that says what it does.
    private func program(_ name: String) throws -> String {
        let path = "\(temporary.path)/\(name)"
        try FileManager.default.copyItem(atPath: HostileWorkerTests.program, toPath: path)
        return path
    }

    /// It measures what looks better; the manifest says what the host has had measured.
    @Test func aLaunchThatItMakesUpIsNotProven() throws {
        let host = try ProofUnderTest(in: temporary, worker: program("takeover-false-launch"))
        #expect(try host.problems(host.bundle()) == [.guestPCR(17)])
    }

    /// It lies about its starts: its own quotes are then of another run, and nothing is gained.
    @Test func countsThatItMakesUpHaveItsOwnQuotesRefused() throws {
        let host = try ProofUnderTest(in: temporary, worker: program("takeover-false-counts"))
        #expect(try host.problems(host.bundle()) == [.anotherRun])
    }

    /// It does not wait until its launch is measured.
    @Test func aTPMThatIsReadyTooEarlyIsRefused() throws {
        let tpm = try VTPMUnderTest(
            in: temporary,
            worker: program("takeover-early-ready"),
            measuring: TaggedEvent.launch.encoded([UInt8(ascii: "x")])
        )
        let heard = try tpm.hear()
        #expect(heard.kind == .failure)
        let text = String(decoding: heard.body, as: UTF8.self)
        #expect(text.contains("its worker sent message \(WorkerReply.Kind.ready.rawValue) out of turn"), "\(text)")
        #expect(try tpm.reap() == .exited(1))
    }

    /// Without a takeover the fixture is a worker like any other.
    @Test func anHonestOneIsProven() throws {
        let host = try ProofUnderTest(in: temporary, worker: HostileWorkerTests.program)
        #expect(try host.problems(host.bundle()) == [])
    }
}
