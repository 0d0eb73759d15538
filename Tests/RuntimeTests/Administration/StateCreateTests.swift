import Crypto
import Foundation
import Glibc
import Platform
import RuntimeAdministration
import RuntimeHostTPM
import Testing

/// `vtpmctl state create`: a TPM that is known before its first container.
@Suite struct StateCreateTests {
    private let control: VTPMControlTests

    init() throws {
        control = try VTPMControlTests()
    }

    private struct Identity: Decodable {
        struct Key: Decodable {
            let algorithm: String
            let sha256: String
            let publicKey: String
        }

        let stateID: String
        let endorsementKeys: [Key]
    }

    private func identity(_ file: String) throws -> Identity {
        try JSONDecoder().decode(Identity.self, from: Data(control.temporary.read(file)))
    }

    @Test func itPrintsTheKeysOfANewTPM() throws {
        let done = try control.run(
            """
            vtpmctl state create 'web/a b' --json >one && vtpmctl state create db --json >two &&
            vtpmctl state verify >verified &&
            for key in 0 1; do
                python3 -c 'import json, sys
            print(json.load(open("one"))["endorsementKeys"][int(sys.argv[1])]["publicKey"])' $key |
                    openssl pkey -pubin -outform DER | sha256sum | cut -d ' ' -f 1
            done >digests
            """
        )
        #expect(done.code == 0, "\(done.error)")
        let (one, two) = (try identity("one"), try identity("two"))
        #expect(one.stateID == "web/a b")
        #expect(one.endorsementKeys.map(\.algorithm) == ["rsa-2048", "ecc-nist-p256"])
        let digests = String(decoding: try control.temporary.read("digests"), as: UTF8.self)
        #expect(one.endorsementKeys.map { $0.sha256 + "\n" }.joined() == digests)
        for (key, other) in zip(one.endorsementKeys, two.endorsementKeys) { #expect(key.sha256 != other.sha256) }
        let verified = String(decoding: try control.temporary.read("verified"), as: UTF8.self)
        #expect(verified == "good: db\ngood: web/a b\n")
    }

    @Test func aStateThatIsThereIsLeftAlone() throws {
        let files = "find /var/lib/container-vtpm -type f -exec sha256sum {} +"
        let done = try control.run(
            """
            vtpmctl state create web >first && \(files) >before
            vtpmctl state create web; code=$?
            \(files) >after
            exit $code
            """
        )
        #expect(done.code == 1)
        #expect(
            done.error == "vtpmctl: cannot create the state \"web\": there is one (vtpmctl state rename or reset)\n"
        )
        #expect(try control.temporary.read("before") == control.temporary.read("after"))
        let printed = String(decoding: try control.temporary.read("first"), as: UTF8.self)
        #expect(printed.hasPrefix("state: web\nendorsement key: rsa-2048, SHA-256 "))
        #expect(printed.contains("\n-----BEGIN PUBLIC KEY-----\n"))
    }

    /// What is there after a kill is whole, and what is not can be made.
    @Test func aKillLeavesNothingOrAWholeState() throws {
        let done = try control.run(
            """
            for delay in 0 0.02 0.05 0.1 0.2 0.3 0.5; do
                '\(VTPMUnderTest.program("vtpmctl"))' state create web >/dev/null 2>&1 &
                sleep $delay; kill -KILL $!; wait $! 2>/dev/null
                vtpmctl state verify >verified || exit 3
                grep -q '^good: web$' verified || vtpmctl state create web >/dev/null || exit 4
                vtpmctl state purge web --yes || exit 5
            done 2>>errors
            """
        )
        let errors = String(decoding: try control.temporary.read("errors"), as: UTF8.self)
        #expect(done.code == 0, "\(errors)")
    }

    @Test(arguments: [("''", "cannot use \"\" as a state ID: it is empty")])
    func aNameThatIsNoneIsRefused(_ name: String, _ reason: String) throws {
        let said = try control.run("vtpmctl state create \(name)")
        #expect(said.code == 1)
        #expect(said.error == "vtpmctl: \(reason)\n")
    }

    /// The worker may be its tenant's where there is one; its answer is looked at all the same.
    @Test func anAnswerThatIsNoEndorsementKeyIsRefused() throws {
        for answer in Self.answers {
            let transport = FixedTransport(answer)
            do throws(Failure) {
                _ = try IdentityKey.all([.rsa, .p256], of: transport)
                Issue.record("taken for a key: \(answer)")
            } catch {
                #expect(error.what == "cannot read the TPM's identity")
                #expect(error.why.hasPrefix("TPM2_CreatePrimary: "), "\(error)")
            }
        }
    }

    /// Nothing, a refusal, a success without contents, and one with a public area of two bytes.
    private static let answers: [[UInt8]] = [
        [], [0x80, 1, 0, 0, 0, 10, 0, 0, 1, 1], [0x80, 2, 0, 0, 0, 10, 0, 0, 0, 0],
        [0x80, 2, 0, 0, 0, 27, 0, 0, 0, 0, 0x80, 0, 0, 0, 0, 0, 0, 4, 0, 2, 0, 1, 0, 0, 0, 0, 0],
    ]
}

/// A TPM that answers everything alike.
private final class FixedTransport: TPMTransport {
    private let answer: [UInt8]

    init(_ answer: [UInt8]) { self.answer = answer }

    func transmit(_ command: [UInt8]) -> [UInt8] { answer }
}
