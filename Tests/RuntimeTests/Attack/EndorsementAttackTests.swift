import AuthorityClient
import Crypto
import Glibc
import Platform
import RuntimeControl
import RuntimeEndorsement
import RuntimeState
import TestSupport
import Testing
import VTPMProxy

/// A worker that was taken over, while a certificate authority works on its TPM.
///
/// The test hands commands and responses on between a real authority and a real worker, as a supervisor does, and changes what
/// it likes.
@Suite(.serialized) struct EndorsementAttackTests {
    private static let readPublic: [UInt8] = [0, 0, 0x01, 0x73]
    static let createPrimary: [UInt8] = [0, 0, 0x01, 0x31]
    private static let activateCredential: [UInt8] = [0, 0, 0x01, 0x47]
    private static let nvWrite: [UInt8] = [0, 0, 0x01, 0x37]

    /// What came of an endorsement.
    enum Outcome: Equatable {
        case record(EndorsementRecord)
        case failure(String)
    }

    /// A worker with an open TPM, and an authority that works on it.
    final class Relay {
        let worker: WorkerUnderTest
        let authority: StartedAuthority
        private let buffer = Channel.makeBuffer()
        /// The commands of the authority, in their order.
        private(set) var commands: [[UInt8]] = []
        private(set) var notices: [String] = []
        private(set) var kept = 0
        /// The marks that it has claimed.
        private(set) var claimed: [[UInt8]] = []

        init(isNew: Bool = true, keys: StandardKeys = .standard, in temporary: TemporaryDirectory) throws {
            worker = try WorkerUnderTest(keys: keys, isEndorsed: true)
            try #require(try worker.hear() == .open)
            authority = try VTPMUnderTest.authority(below: temporary).start(
                EndorsementOrders(
                    level: .certificates,
                    keys: keys,
                    containerID: "web",
                    bundle: "/bundle",
                    image: "",
                    stateID: "web",
                    time: 1_800_000_000,
                    chain: []
                )
            )
            let instance = [UInt8](repeating: 7, count: 16)
            try authority.channel.send(
                AuthorityRequest.begin(instance: instance, isNew: isNew, library: LibraryVersion(0, 9, 2), former: [])
            )
        }

        deinit { authority.process.kill() }

        func execute(_ command: [UInt8]) throws -> [UInt8] {
            try worker.channel.send(WorkerRequest.execute, followedBy: command)
            try #require(try worker.hear() == .response)
            return worker.body
        }

        /// Goes on to the end; `change` gets each command with its response, and returns what the authority hears.
        func run(_ change: ([UInt8], [UInt8]) throws -> [UInt8] = { $1 }) throws -> Outcome {
            while true {
                try #require(
                    try wait(for: authority.channel.descriptor.number, until: Deadline(milliseconds: 60_000)) != 0
                )
                guard let message = try authority.channel.receive(into: buffer) else { return .failure("it ended") }
                switch AuthorityReply(message) {
                case .execute:
                    let command = message.body
                    commands.append(command)
                    let response = try change(command, execute(command))
                    try authority.channel.send(AuthorityRequest.response, followedBy: response)
                case .claim(let keys):
                    claimed = keys
                    try authority.channel.send(AuthorityRequest.claimed(.own))
                case .keep:
                    kept += 1
                    try authority.channel.send(AuthorityRequest.kept)
                case .notice(let failure): notices.append("\(failure)")
                case .complete: return .record(try #require(EndorsementRecord(decoding: message.body)))
                case .failure(let failure): return .failure("\(failure)")
                case .none: return .failure("message \(message.kind)")
                }
            }
        }

        var hasWritten: Bool { commands.contains { $0[6..<10].elementsEqual(EndorsementAttackTests.nvWrite) } }
    }

    @Test func withoutAChangeItIsEndorsed() throws {
        let relay = try Relay(in: TemporaryDirectory())
        guard case .record(let record) = try relay.run() else { throw Failure("no", because: "record") }
        #expect(record.level == .certificates && record.keys.allSatisfy { !$0.certificate.isEmpty })
        #expect(relay.hasWritten && record.time == 1_800_000_000)
        // From here on it is a TPM like any other, and the host's commands are none of its own any more.
        try relay.worker.channel.send(WorkerRequest.close(instance: []))
        try relay.worker.serve()
        try relay.worker.channel.send(WorkerRequest.execute, followedBy: getRandom)
        #expect(try relay.worker.transmit(getRandom).count == 20)
        #expect(try !relay.worker.hasSaidMore())
        #expect(try relay.worker.end() == .exited(0))
    }

    /// The worker shows another TPM's public key, whose private part it does not have.
    @Test(arguments: [(0, true), (1, true), (0, false), (1, false)])
    func anotherTPMsKeyIsNeitherClaimedNorCertified(number: Int, isNew: Bool) throws {
        // Of a TPM that has had a tenant the key is made anew, and what is at the handle does not count.
        let shown = isNew ? Self.readPublic : Self.createPrimary
        let other = try Relay(isNew: isNew, in: TemporaryDirectory())
        var shownByOther: [[UInt8]] = []
        _ = try other.run { command, response in
            if Self.shows(command, shown) { shownByOther.append(response) }
            return response
        }
        try #require(shownByOther.count == 2)
        let relay = try Relay(isNew: isNew, in: TemporaryDirectory())
        var seen = 0
        let outcome = try relay.run { command, response in
            guard Self.shows(command, shown) else { return response }
            defer { seen += 1 }
            guard seen == number else { return response }
            // The public area of the other, with the handle of this one's own.
            return isNew
                ? shownByOther[number]
                : Array(shownByOther[number][..<10]) + response[10..<14]
                    + shownByOther[number][14...]
        }
        if isNew {
            guard case .failure(let text) = outcome else { throw Failure("a certificate", because: "\(outcome)") }
            #expect(text.hasPrefix("cannot endorse the TPM: TPM2_ActivateCredential: TPM_RC_"), "\(text)")
            #expect(!relay.hasWritten && relay.claimed.isEmpty)
        } else {
            // The container starts, and the other key is all that goes on record.
            guard case .record(let record) = outcome else { throw Failure("no record", because: "\(outcome)") }
            #expect(
                record.level == .none && record.keys[number].area.isEmpty && record.keys[number].certificate.isEmpty
            )
            #expect(record.keys[number].obstacle.hasPrefix("TPM2_ActivateCredential: TPM_RC_"))
            #expect(!record.keys[1 - number].certificate.isEmpty && relay.claimed.count == 1)
        }
    }

    /// Whether a command is the one by which the TPM shows an endorsement key.
    private static func shows(_ command: [UInt8], _ code: [UInt8]) -> Bool {
        let endorsement: [UInt8] = [0x40, 0, 0, 0x0b]
        return command[6..<10].elementsEqual(code)
            && (code == readPublic || command[10..<14].elementsEqual(endorsement)) && !makesQuotingKey(command)
    }

    /// Whether a command makes the key by which the TPM will quote: its attributes are those of a key that signs.
    static func makesQuotingKey(_ command: [UInt8]) -> Bool {
        command[6..<10].elementsEqual(createPrimary) && command.contains([0x00, 0x05, 0x04, 0x72])
    }

    /// The worker shows the quoting key of another TPM, which would say for this one what that other one is.
    @Test(arguments: [true, false]) func anotherTPMsQuotingKeyIsNotRecorded(isNew: Bool) throws {
        let other = try Relay(isNew: isNew, in: TemporaryDirectory())
        var shownByOther: [UInt8] = []
        _ = try other.run { command, response in
            if Self.makesQuotingKey(command) { shownByOther = response }
            return response
        }
        try #require(shownByOther.count > 100)
        let relay = try Relay(isNew: isNew, in: TemporaryDirectory())
        let outcome = try relay.run { command, response in
            guard Self.makesQuotingKey(command) else { return response }
            return Array(shownByOther[..<10]) + response[10..<14] + shownByOther[14...]
        }
        if isNew {
            guard case .failure(let text) = outcome else { throw Failure("a record", because: "\(outcome)") }
            #expect(text.hasPrefix("cannot endorse the TPM: TPM2_ActivateCredential: TPM_RC_"), "\(text)")
        } else {
            guard case .record(let record) = outcome else { throw Failure("no record", because: "\(outcome)") }
            #expect(record.quotingKey.isEmpty && record.keys.allSatisfy { !$0.certificate.isEmpty })
            #expect(relay.notices.contains { $0.contains("TPM2_ActivateCredential") }, "\(relay.notices)")
        }
    }

    /// It answers with another secret than the one in the credential: nothing but a deception does that.
    @Test(arguments: [true, false]) func anotherSecretGetsNoCertificate(isNew: Bool) throws {
        let relay = try Relay(isNew: isNew, in: TemporaryDirectory())
        let outcome = try relay.run { command, response in
            guard command[6..<10].elementsEqual(Self.activateCredential) else { return response }
            var changed = response
            // After the header, the size of the parameters and that of the secret.
            changed[16] ^= 1
            return changed
        }
        let why = "the TPM does not have its private part"
        if isNew {
            #expect(outcome == .failure("cannot certify the key ek-rsa-2048: \(why)"))
        } else {
            guard case .record(let record) = outcome else { throw Failure("no record", because: "\(outcome)") }
            #expect(record.level == .none && record.keys.count == 2)
            #expect(record.keys.allSatisfy { $0.area.isEmpty && $0.certificate.isEmpty && $0.obstacle == why })
            #expect(relay.notices.contains("cannot certify the key ek-rsa-2048: \(why)"))
        }
        #expect(!relay.hasWritten && relay.claimed.isEmpty)
    }

    /// Each response is cut off, is of another size than it says, or is none.
    @Test func malformedResponsesAreErrors() throws {
        let temporary = try TemporaryDirectory()
        let whole = try Relay(in: temporary)
        _ = try whole.run()
        for number in stride(from: 0, to: whole.commands.count, by: 3) {
            for change in [{ (_: [UInt8]) in [] }, { $0.dropLast() }, { $0 + [0] }] as [([UInt8]) -> [UInt8]] {
                let relay = try Relay(in: temporary)
                var seen = 0
                let outcome = try relay.run { _, response in
                    defer { seen += 1 }
                    return seen == number ? change(response) : response
                }
                // What is flushed does not count.
                let isFlush = relay.commands[number][6..<10].elementsEqual([0, 0, 0x01, 0x65])
                guard case .failure(let text) = outcome else {
                    #expect(isFlush, "command \(number)")
                    continue
                }
                #expect(text.hasPrefix("cannot endorse the TPM: "), "\(text)")
            }
        }
    }
}
