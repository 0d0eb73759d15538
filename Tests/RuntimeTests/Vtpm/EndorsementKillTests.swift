import AuthorityClient
import Glibc
import Platform
import RuntimeAdministration
import RuntimeControl
import RuntimeEndorsement
import RuntimeState
import TestSupport
import Testing
import VTPMProxy

/// Kills at each message between the certificate authority and a supervisor.
@Suite(.serialized) struct EndorsementKillTests {
    enum Victim: CaseIterable { case authority, supervisor }

    /// Hands on what both say, and kills one of them after so many messages of the authority's.
    private final class Relay {
        let limit: Int
        let victim: Victim
        /// Whether the limit was reached.
        private(set) var hasKilled = false
        /// The certificates that the authority has had written, as far as one command holds them: by the NV index.
        private(set) var written: [[UInt8]: [UInt8]] = [:]
        private let buffer = Channel.makeBuffer()

        init(killing victim: Victim, after limit: Int) { (self.victim, self.limit) = (victim, limit) }

        func run(_ tpm: VTPMUnderTest, _ started: StartedAuthority) throws {
            let pair = try Channel.pair(near: "test", far: "supervisor")
            try tpm.hook.send(HookRequest.authority, descriptors: [pair.far.descriptor.number])
            var count = 0
            while true {
                var set = PollSet()
                let (supervisor, authority) = (
                    set.add(pair.near.descriptor.number), set.add(started.channel.descriptor.number)
                )
                try #require(try set.wait(until: Deadline(milliseconds: 60_000)))
                if set.isReady(supervisor) {
                    guard let message = try pair.near.receive(into: buffer) else { return }
                    try send(message, to: started.channel)
                } else if set.isReady(authority) {
                    guard let message = try started.channel.receive(into: buffer) else { return }
                    if count == limit {
                        hasKilled = true
                        victim == .authority ? started.process.kill() : tpm.supervisor.kill()
                        return
                    }
                    count += 1
                    note(message.body)
                    try send(message, to: pair.near)
                }
            }
        }

        private func send(_ message: borrowing Message, to channel: Channel) throws {
            try message.body.withUnsafeBytes { try channel.send(kind: message.kind, $0) }
        }

        /// TPM2_NV_Write: after the header the authorizing handle, the index, a password, and the data with their size.
        private func note(_ command: [UInt8]) {
            guard command.count > 33, command[6..<10].elementsEqual([0, 0, 0x01, 0x37]) else { return }
            written[Array(command[14..<18])] = Array(command[33...])
        }
    }

    /// A new TPM that is not complete is none, and the next start makes another.
    @Test(arguments: Victim.allCases, [0, 1, 2, 7, 12, 17, 22, 27, 32])
    func aNewTPMIsWholeOrNone(victim: Victim, limit: Int) throws {
        let temporary = try TemporaryDirectory()
        let relay = Relay(killing: victim, after: limit)
        let tpm = try VTPMUnderTest(in: temporary, tpmKeys: EndorsementTests.all, endorsement: .certificates)
        tpm.relay = relay.run
        _ = try tpm.hear()
        _ = try tpm.reap()
        #expect(relay.hasKilled)
        let next = try EndorsementTests.start(in: temporary)
        let record = try #require(try EndorsementTests.repository(in: temporary).endorsement(of: "web"))
        #expect(record.level == .certificates && record.keys.allSatisfy { !$0.certificate.isEmpty })
        for (key, index) in zip(record.keys, ["0x1c00002", "0x1c0000a"]) {
            try next.run("tpm2_nvread \(index) -o nv.der 2>/dev/null")
            #expect(try temporary.read("nv.der") == key.certificate)
        }
        #expect(try next.stop() == .exited(0))
    }

    /// Of a TPM from before no key is certified twice, whatever is killed and how often.
    @Test(arguments: Victim.allCases) func aKeyIsCertifiedOnce(victim: Victim) throws {
        let temporary = try TemporaryDirectory()
        #expect(try EndorsementTests.start(in: temporary, EndorsementTests.all, .none).stop() == .exited(0))
        var certificates: [[UInt8]: Set<[UInt8]>] = [:]
        var limit = 0
        while true {
            let relay = Relay(killing: victim, after: limit)
            let tpm = try VTPMUnderTest(in: temporary, tpmKeys: EndorsementTests.all, endorsement: .certificates)
            tpm.relay = relay.run
            let heard = try tpm.hear()
            for (index, certificate) in relay.written { certificates[index, default: []].insert(certificate) }
            // Without the authority it starts as it is, and the next start goes on.
            if heard.kind == .ready {
                try tpm.serve()
                try tpm.hook.send(HookRequest.commit)
                try #require(try tpm.hear().kind == .committed)
                #expect(try tpm.stop() == .exited(0))
            } else {
                #expect(victim == .supervisor)
                _ = try tpm.reap()
            }
            guard relay.hasKilled else { break }
            limit += 1
        }
        #expect(limit > 20)
        // Both keys' and the authority's own.
        #expect(certificates.count == 3 && certificates.values.allSatisfy { $0.count == 1 })
        let record = try #require(try EndorsementTests.repository(in: temporary).endorsement(of: "web"))
        #expect(record.level == .certificates)
        #expect(
            record.keys.allSatisfy { key in
                certificates.values.contains { $0.first?.starts(with: key.certificate) ?? false }
            }
        )
    }
}
