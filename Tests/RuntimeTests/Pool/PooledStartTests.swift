import Foundation
import Glibc
import Platform
import RuntimeAdministration
import RuntimeControl
import RuntimeEndorsement
import RuntimeState
import TestSupport
import Testing
import VTPMProxy

@testable import RuntimePool

/// A start with a TPM from the pool: the real supervisor, worker and certificate authority.
@Suite(.serialized) struct PooledStartTests {
    private let temporary: TemporaryDirectory

    init() throws { temporary = try TemporaryDirectory() }

    private static func makeTPM() throws -> PooledTPM {
        let made = try TrialStart(worker: VTPMUnderTest.program("vtpm-worker")).manufacture(with: .standard)
        return PooledTPM(state: made.state, provision: .standard, library: made.library)
    }

    private func start(
        _ stateID: String,
        _ pooled: PooledTPM?,
        _ level: EndorsementLevel = .certificates,
        trace: String? = nil
    ) throws -> VTPMUnderTest {
        try VTPMUnderTest(
            in: temporary,
            stateID: stateID,
            tpmKeys: EndorsementTests.all,
            endorsement: level,
            pooled: pooled,
            trace: trace,
            traced: "fsync,fdatasync,sync,syncfs,msync,sendmsg"
        )
    }

    /// The names of both endorsement keys.
    private func keys(of tpm: VTPMUnderTest) throws -> String {
        try tpm.run("for i in 01 0a; do tpm2_readpublic -c 0x810100$i | sed -n 's/^name: //p'; done")
    }

    /// Starts a TPM, and stops it once it has shown its keys.
    private func shownKeys(
        _ stateID: String,
        _ pooled: PooledTPM?,
        _ level: EndorsementLevel = .certificates
    ) throws -> String {
        let tpm = try start(stateID, pooled, level)
        try tpm.create()
        let keys = try keys(of: tpm)
        #expect(try tpm.stop() == .exited(0))
        return keys
    }

    @Test func itIsTheStatesTPMFromThenOn() throws {
        let pooled = try Self.makeTPM()
        let expected = try shownKeys("stranger", pooled, .none)
        #expect(expected.split(separator: "\n").count == 2)
        let tpm = try start("web", pooled)
        let ready = try tpm.hear()
        try #require(ready.kind == .ready, "\(String(decoding: ready.body, as: UTF8.self))")
        // Before its first answer it is written under the new ID, with the record of its certificates.
        let record = try #require(try EndorsementTests.repository(in: temporary).endorsement(of: "web"))
        #expect(record.level == .certificates && record.keys.count == 2 && record.stateID == "web")
        try tpm.serve()
        try tpm.hook.send(HookRequest.commit)
        try #require(try tpm.hear().kind == .committed)
        #expect(try keys(of: tpm) == expected)
        #expect(try EndorsementTests.verdict(on: tpm) == "rsa.pem: OK\necc.pem: OK\n")
        #expect(try temporary.read("rsa.der") == record.keys[0].certificate)
        #expect(try tpm.stop() == .exited(0))
        #expect(try shownKeys("web", nil) == expected)
        // A state that is there stays as it is.
        #expect(try shownKeys("web", Self.makeTPM()) == expected)
    }

    /// What another version has made may be more than this one can load.
    @Test func anotherLibrarysTPMIsThrownAway() throws {
        let pooled = try Self.makeTPM()
        let expected = try shownKeys("stranger", pooled, .none)
        let other = PooledTPM(state: pooled.state, provision: pooled.provision, library: LibraryVersion(9, 9, 9))
        let keys = try shownKeys("web", other)
        #expect(keys.split(separator: "\n").count == 2 && keys != expected)
    }

    /// It costs a disk no more than a new TPM without keys.
    @Test func itIsStoredByAsManyFlushesAsAnyNewState() throws {
        _ = try shownKeys("other", nil, .none)
        var flushes: [Int] = []
        for (stateID, pooled, level) in [
            ("plain", nil, EndorsementLevel.none), ("web", try Self.makeTPM(), .certificates),
        ] {
            let file = "\(temporary.path)/trace"
            let tpm = try start(stateID, pooled, level, trace: file)
            try tpm.create()
            #expect(try tpm.stop() == .exited(0))
            let calls = try SystemCallTrace(file, ended: 2).calls
            let ready = try #require(calls.firstIndex { $0.name == "sendmsg" && $0.arguments.contains("/run/lease-") })
            flushes.append(
                calls[..<ready].filter { call in
                    call.name != "sendmsg" && !["/index>", "/index.new>"].contains { call.arguments.contains($0) }
                }.count
            )
        }
        #expect(flushes[1] == flushes[0] && flushes[1] <= 5, "\(flushes)")
    }

    /// A hook that promises a TPM and hands over something else.
    @Test func whatIsNoStateIsAFailureOfTheStart() throws {
        let nothing = PooledTPM(
            state: try secretCopy(of: [1, 2, 3]),
            provision: .standard,
            library: try Self.makeTPM().library
        )
        let tpm = try start("web", nothing, .none)
        let heard = try tpm.hear()
        #expect(heard.kind == .failure)
        #expect(String(decoding: heard.body, as: UTF8.self).hasPrefix("cannot start the TPM"))
        #expect(try tpm.reap() == .exited(1))
        #expect(try EndorsementTests.repository(in: temporary).names() == [])
    }
}
