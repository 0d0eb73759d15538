import Platform
import RuntimeEndorsement
import TestSupport
import Testing
import VTPMProxy

/// A worker that was taken over, while a certificate authority asks its TPM for a device identity.
@Suite(.serialized) struct DeviceIdentityAttackTests {
    private typealias Relay = EndorsementAttackTests.Relay
    private typealias Outcome = EndorsementAttackTests.Outcome

    private static let keys: StandardKeys = [StandardKeys(.endorsementP256), StandardKeys(.attestationP384)]
    private static let certifyCreation: [UInt8] = [0, 0, 0x01, 0x4a]
    private static let certify: [UInt8] = [0, 0, 0x01, 0x48]
    private static let unproved = "the TPM does not have its private part"

    private static func makesIdentity(_ command: [UInt8]) -> Bool {
        command[6..<10].elementsEqual(EndorsementAttackTests.createPrimary)
            && command.contains([0x00, 0x05, 0x00, 0xf2])
    }

    private static func certifies(_ command: [UInt8]) -> Bool { command[6..<10].elementsEqual(certifyCreation) }

    /// Nothing is certified but the endorsement key; a new TPM does not start.
    private static func expectNoIdentity(_ outcome: Outcome, _ relay: Relay, isNew: Bool) throws {
        if isNew {
            #expect(outcome == .failure("cannot certify the key iak-p384: \(unproved)"))
            #expect(!relay.hasWritten && relay.claimed.isEmpty)
        } else {
            guard case .record(let record) = outcome else { throw Failure("no record", because: "\(outcome)") }
            let key = try #require(record.keys.first { $0.key == .attestationP384 })
            #expect(key.area.isEmpty && key.certificate.isEmpty && key.obstacle == unproved)
            #expect(record.level == .none && relay.claimed.count == 1)
        }
    }

    @Test func withoutAChangeItIsCertified() throws {
        let relay = try Relay(keys: Self.keys, in: TemporaryDirectory())
        guard case .record(let record) = try relay.run() else { throw Failure("no", because: "record") }
        #expect(record.level == .certificates && record.keys.map(\.key) == [.endorsementP256, .attestationP384])
        #expect(relay.commands.contains(where: Self.certifies))
    }

    /// All that is asked about the device identity goes to another TPM, whose own quoting key certifies it.
    @Test(arguments: [true, false]) func anotherTPMDoesNotCertifyItsOwn(isNew: Bool) throws {
        let other = try Relay(keys: Self.keys, in: TemporaryDirectory())
        let relay = try Relay(isNew: isNew, keys: Self.keys, in: TemporaryDirectory())
        var quotingKeys = 0
        let outcome = try relay.run { command, response in
            if EndorsementAttackTests.makesQuotingKey(command) { quotingKeys += 1 }
            // The first is made beside the endorsement key, and opens a credential.
            return quotingKeys == 2 ? try other.execute(command) : response
        }
        try Self.expectNoIdentity(outcome, relay, isNew: isNew)
    }

    /// The TPM's own key is certified, and the worker shows another one in its place.
    @Test(arguments: [true, false]) func whatTheTPMCertifiesIsTheKeyThatIsShown(isNew: Bool) throws {
        let relay = try Relay(isNew: isNew, keys: Self.keys, in: TemporaryDirectory())
        let outcome = try relay.run { command, response in
            guard Self.makesIdentity(command) else { return response }
            var changed = response
            // After the header, the handle, two sizes and the template with 48 bytes of policy: the x coordinate.
            changed[10 + 4 + 4 + 2 + 68 + 2] ^= 1
            return changed
        }
        try Self.expectNoIdentity(outcome, relay, isNew: isNew)
    }

    /// What was certified before says nothing of now.
    @Test(arguments: [true, false]) func anEarlierCertificationIsNone(isNew: Bool) throws {
        let relay = try Relay(isNew: isNew, keys: Self.keys, in: TemporaryDirectory())
        let outcome = try relay.run { command, response in
            guard Self.certifies(command) else { return response }
            var earlier = command
            // After the header, two handles, the session's part of 13 bytes and a size: the nonce.
            earlier[10 + 8 + 13 + 2] ^= 1
            return try relay.execute(earlier)
        }
        try Self.expectNoIdentity(outcome, relay, isNew: isNew)
    }

    /// What is at the key's handle in a new TPM is the key that was certified.
    @Test func anotherKeyAtTheHandleIsNotTaken() throws {
        let relay = try Relay(keys: Self.keys, in: TemporaryDirectory())
        let outcome = try relay.run { command, response in
            let reads: [UInt8] = [0, 0, 0x01, 0x73, 0x81, 0x02, 0, 0x01]
            guard command[6...].elementsEqual(reads) else { return response }
            var changed = response
            changed[10 + 2 + 68 + 2] ^= 1
            return changed
        }
        #expect(outcome == .failure("cannot endorse the TPM: another key is at the handle 0x81020001"))
        #expect(!relay.hasWritten && relay.claimed.isEmpty)
    }

    /// Whether a command has the device identity certify the quoting key: two objects, of which the second is the later one.
    private static func hasIdentitySign(_ command: [UInt8]) -> Bool {
        command[6..<10].elementsEqual(certify) && !command[10..<14].elementsEqual(command[14..<18])
    }

    /// It certifies another object, or for another nonce, or the signature is wrong: the key's own private part is missing.
    @Test(arguments: ["object", "nonce", "signature"], [true, false])
    func withoutItsPrivatePartADeviceIdentityIsNone(change: String, isNew: Bool) throws {
        let relay = try Relay(isNew: isNew, keys: Self.keys, in: TemporaryDirectory())
        var seen = 0
        var another: [UInt8] = []
        let outcome = try relay.run { command, response in
            if EndorsementAttackTests.makesQuotingKey(command), another.isEmpty {
                // The same template in the owner's hierarchy gives another key.
                var made = command
                made.replaceSubrange(10..<14, with: [0x40, 0, 0, 1])
                another = Array(try relay.execute(made)[10..<14])
            }
            // A TPM that tests an algorithm first answers TPM_RC_RETRY once.
            guard Self.hasIdentitySign(command), response.count > 10 else { return response }
            seen += 1
            var changed = change == "signature" ? response : command
            switch change {
            case "object": changed.replaceSubrange(10..<14, with: another)
            // After the header, two handles, two sessions and a size.
            case "nonce": changed[10 + 8 + 4 + 18 + 2] ^= 1
            default: changed[changed.count - 11] ^= 1
            }
            return change == "signature" ? changed : try relay.execute(changed)
        }
        #expect(seen == 1)
        try Self.expectNoIdentity(outcome, relay, isNew: isNew)
    }

    /// The quoting key shows that its own private part is there as well.
    @Test(arguments: ["nonce", "signature"], [true, false])
    func withoutItsPrivatePartAQuotingKeyIsNone(change: String, isNew: Bool) throws {
        let relay = try Relay(isNew: isNew, keys: [StandardKeys(.endorsementP256)], in: TemporaryDirectory())
        var seen = 0
        let outcome = try relay.run { command, response in
            guard command[6..<10].elementsEqual(Self.certify), response.count > 10 else { return response }
            seen += 1
            var changed = change == "nonce" ? command : response
            changed[change == "nonce" ? 10 + 8 + 4 + 18 + 2 : changed.count - 11] ^= 1
            return change == "nonce" ? try relay.execute(changed) : changed
        }
        #expect(seen == 1)
        if isNew {
            #expect(outcome == .failure("cannot record the quoting key: \(Self.unproved)"))
            #expect(!relay.hasWritten && relay.claimed.isEmpty)
        } else {
            guard case .record(let record) = outcome else { throw Failure("no record", because: "\(outcome)") }
            #expect(record.quotingKey.isEmpty && record.keys.allSatisfy { !$0.certificate.isEmpty })
            #expect(relay.notices.contains("cannot record the quoting key: \(Self.unproved)"), "\(relay.notices)")
        }
    }

    @Test(arguments: [true, false]) func aSignatureIsVerified(isNew: Bool) throws {
        let relay = try Relay(isNew: isNew, keys: Self.keys, in: TemporaryDirectory())
        let outcome = try relay.run { command, response in
            guard Self.certifies(command) else { return response }
            var changed = response
            // The session's part at the end has 5 bytes.
            changed[changed.count - 6] ^= 1
            return changed
        }
        try Self.expectNoIdentity(outcome, relay, isNew: isNew)
    }
}
