import Crypto
import Glibc
import Platform
import RuntimePCR
import Testing
import VTPMProxy

@testable import RuntimeHostTPM

/// The key by which a host attests, in a swtpm; tpm2-tools judge.
@Suite struct AttestationTests {
    let temporary: TemporaryDirectory
    let tpm: SoftwareTPM
    let interposer: Interposer
    let host: HostTPM
    let authorization: SecretBytes
    static let extraData = [UInt8](repeating: 0x5a, count: 32)
    static let selection = PCRSelection(banks: [PCRSelection.Bank(algorithm: 0x000b, mask: 0xffff)])

    init() throws {
        temporary = try TemporaryDirectory()
        tpm = try SoftwareTPM(in: "\(temporary.path)/tpm")
        interposer = Interposer(before: tpm)
        host = HostTPM(transport: interposer)
        authorization = try WrappedAttestationKey.makeAuthorization()
    }

    private func shell(_ command: String) throws -> String {
        let script = "cd '\(temporary.path)' && set -e && { \(command); } >log 2>&1"
        let status = try ProgramLaunch("/bin/bash", ["bash", "-c", script]).start().wait()
        let log = String(decoding: try temporary.read("log"), as: UTF8.self)
        try #require(status == .exited(0), "\(command): \(log)")
        return log
    }

    private func quote(_ wrapped: WrappedAttestationKey, by other: HostTPM? = nil) throws -> PCRQuote {
        try (other ?? host).withAttestationKey(wrapped, authorization, "cannot attest") { (loaded) throws(Failure) in
            try loaded.quote(Self.selection, Self.extraData)
        }
    }

    /// The error's reason, once nothing was found to be left in the TPM.
    private func refusal(_ body: () throws -> Void) throws -> String {
        let error = #expect(throws: Failure.self) { try body() }
        interposer.change = nil
        #expect(try tpm.temporaryHandles() == [])
        return error?.why ?? ""
    }

    @Test(arguments: QuotingKey.Kind.allCases) func theToolsOfOthersTakeTheQuote(kind: QuotingKey.Kind) throws {
        try tpm.extend(7)
        let wrapped = try host.makeAttestationKey(authorization, kind, for: host.endorsement(.p256).key)
        let quote = try quote(wrapped)
        #expect(try tpm.temporaryHandles() == [])
        try temporary.write("quote.msg", quote.attestation.message)
        try temporary.write("quote.sig", quote.attestation.signature)
        try temporary.write("key.pub", wrapped.key.publicFile)
        let extraData = String(repeating: "5a", count: 32)
        let shown = try shell(
            """
            tpm2_checkquote -u key.pub -m quote.msg -s quote.sig -g sha256 -q \(extraData)
            tpm2_print -t TPMS_ATTEST quote.msg
            ! tpm2_checkquote -u key.pub -m quote.msg -s quote.sig -g sha256 -q 00
            """
        )
        #expect(shown.contains("ffff00") && shown.contains(extraData), "\(shown)")
        #expect(quote.values.count == 16 && quote.values[7] != quote.values[6])
        // Neither kind's signature is taken for the other's, nor that of another key of the kind.
        for other in QuotingKey.Kind.allCases {
            let key = try host.makeAttestationKey(authorization, other, for: host.endorsement(.p256).key).key
            #expect(quote.attestation.content(signedBy: key) == nil)
        }
    }

    /// A verifier learns with tools of others that the attestation key is in the TPM with the endorsement key.
    @Test(arguments: [IdentityKey.Kind.p256, .rsa], QuotingKey.Kind.allCases)
    func aCredentialIsOpened(kind: IdentityKey.Kind, attestation: QuotingKey.Kind) throws {
        let endorsement = try host.endorsement(kind)
        let wrapped = try host.makeAttestationKey(authorization, attestation, for: endorsement.key)
        #expect(endorsement.certificate == nil)
        try temporary.write("ek.pub", endorsement.key.publicFile)
        try temporary.write("ak.pub", wrapped.key.publicFile)
        let name = try wrapped.key.name
        let digits = name.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
        _ = try shell(
            """
            printf 0123456789abcdef >secret
            tpm2_makecredential -Q -T none -u ek.pub -s secret -n \(digits) -o credential
            tpm2_print -t TPM2B_PUBLIC ak.pub | grep -q 'fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda|restricted|sign'
            """
        )
        let file = try #require(CredentialFile(decoding: temporary.read("credential")))
        let secret = try host.activate(file, wrapped, authorization, by: kind)
        #expect(secret == Array("0123456789abcdef".utf8))
        #expect(try tpm.temporaryHandles() == [])
        // One that was made for another key is not.
        let other = try host.makeAttestationKey(authorization, for: host.endorsement(.p256).key)
        let why = try refusal { _ = try host.activate(file, other, authorization, by: kind) }
        #expect(why.hasPrefix("TPM2_ActivateCredential: TPM_RC_INTEGRITY"), "\(why)")
    }

    @Test(arguments: QuotingKey.Kind.allCases) func aCounterIsCertified(kind: QuotingKey.Kind) throws {
        let counter = try host.defineCounter(0x0180_0001)
        let value = try host.incrementCounter(counter)
        let wrapped = try host.makeAttestationKey(authorization, kind, for: host.endorsement(.p256).key)
        func certify(_ name: [UInt8]) throws -> SignedAttestation {
            try host.withAttestationKey(wrapped, authorization, "cannot attest") { (loaded) throws(Failure) in
                try loaded.certify(index: counter.index, named: name, Self.extraData)
            }
        }
        let certified = try certify(counter.name)
        let message = try #require(certified.content(signedBy: wrapped.key))
        #expect(message.extraData == Self.extraData)
        var contents = ByteWriter()
        contents.write(value)
        #expect(message.content == .nv(name: counter.name, offset: 0, contents: contents.bytes))
        #expect(try tpm.temporaryHandles() == [])
        let other = [0, 11] + [UInt8](repeating: 1, count: 32)
        #expect(
            try refusal { _ = try certify(other) }
                == "the counter 0x01800001 is another than when the container was started"
        )
        try host.undefineCounter(counter.index)
        #expect(
            try refusal { _ = try certify(counter.name) }
                == "the counter 0x01800001 is another than when the container was started"
        )
    }

    /// Whoever has the file and not the authorization value cannot use the key, nor whoever may use the hierarchy.
    @Test func withoutItsAuthorizationTheKeyIsOfNoUse() throws {
        let wrapped = try host.makeAttestationKey(authorization, for: host.endorsement(.p256).key)
        let other = try WrappedAttestationKey.makeAuthorization()
        let why = try refusal {
            try host.withAttestationKey(wrapped, other, "cannot attest") { (loaded) throws(Failure) in
                _ = try loaded.quote(Self.selection, Self.extraData)
            }
        }
        #expect(why.hasPrefix("TPM2_Quote: TPM_RC_BAD_AUTH"), "\(why)")
        // Made again from the same template it is another key.
        #expect(try host.makeAttestationKey(authorization, for: host.endorsement(.p256).key).key != wrapped.key)
    }

    @Test func anotherTPMDoesNotTakeIt() throws {
        let wrapped = try host.makeAttestationKey(authorization, for: host.endorsement(.p256).key)
        let other = try SoftwareTPM(in: "\(temporary.path)/other")
        let error = #expect(throws: Failure.self) { try quote(wrapped, by: HostTPM(transport: other)) }
        #expect(error?.why == "this is not the TPM that has made the attestation key, or it was cleared")
        #expect(try other.temporaryHandles() == [])
    }

    @Test func itOutlivesARestart() throws {
        let wrapped = try host.makeAttestationKey(authorization, for: host.endorsement(.p256).key)
        let before = try #require(try quote(wrapped).attestation.content(signedBy: wrapped.key))
        tpm.stop()
        try tpm.start()
        let after = try #require(try quote(wrapped).attestation.content(signedBy: wrapped.key))
        // The counts of starts are as they are, which they would not be below the owner's hierarchy.
        #expect(after.resetCount == before.resetCount + 1 && after.restartCount == before.restartCount)
    }

    @Test func theAuthorizationValueIsNowhereOnTheWay() throws {
        let wrapped = try host.makeAttestationKey(authorization, for: host.endorsement(.p256).key)
        _ = try quote(wrapped)
        let secret = authorization.withBytes { Array($0) }
        for message in interposer.traffic {
            #expect(!message.indices.contains { message[$0...].starts(with: secret) })
        }
    }

    /// No bit of a quote's answer can be changed: not of what is signed, of the signature, or of the HMAC.
    @Test func noByteOfAQuoteCanBeChanged() throws {
        let wrapped = try host.makeAttestationKey(authorization, for: host.endorsement(.p256).key)
        _ = try quote(wrapped)
        let size = try #require(interposer.lastAnswer(to: .quote)).count
        for position in 0..<size {
            interposer.change = { code, answer in
                guard code == CommandCode.quote.rawValue else { return answer }
                var answer = answer
                answer[position] ^= 0x01
                return answer
            }
            #expect(throws: Failure.self, "\(position)") { try quote(wrapped) }
        }
        interposer.change = nil
        try tpm.flushAll()
        _ = try quote(wrapped)
    }

    /// Has the interposer show another TPM's public area in one of the answers to TPM2_CreatePrimary, from 0 on.
    private func exchange(_ area: [UInt8], inAnswer number: Int) {
        var count = -1
        interposer.change = { code, answer in
            guard code == CommandCode.createPrimary.rawValue else { return answer }
            count += 1
            // After the handle and the size of the parameters; both public areas have the same size.
            return count == number ? Array(answer[..<18]) + area + answer[(18 + area.count)...] : answer
        }
    }

    /// Something between the host and its TPM shows a parent of its own, to which it can decrypt: the session's salt is for the
    /// endorsement key alone, and nothing is made.
    @Test func anotherParentGetsNoSecret() throws {
        let own = try SoftwareTPM(in: "\(temporary.path)/own")
        let answer = try own.send(0x131, handles: [0x4000_000b]) {
            $0.write(sized: [0, 0, 0, 0])
            $0.write(sized: StorageKey.template)
            $0.write(sized: [])
            $0.write(UInt32(0))
        }
        let endorsement = try host.endorsement(.p256).key
        exchange(Array(answer[18..<18 + 2 + 90]), inAnswer: 0)
        let why = try refusal { _ = try host.makeAttestationKey(authorization, for: endorsement) }
        #expect(why.hasPrefix("TPM2_Create: TPM_RC_BAD_AUTH"), "\(why)")
        // What was made last before the session is the endorsement key, whose handle the session names.
        let made = try #require(interposer.lastAnswer(to: .createPrimary))[10..<14]
        let session = interposer.traffic.last { $0[6..<10].elementsEqual([0, 0, 0x01, 0x76]) && $0.count > 100 }
        #expect(try #require(session)[10..<14].elementsEqual(made))
    }

    /// It shows the true endorsement key to the verifier, and one of its own to the session.
    @Test func anotherEndorsementKeyIsNoticed() throws {
        let own = try HostTPM(transport: SoftwareTPM(in: "\(temporary.path)/own")).endorsement(.p256).key
        let endorsement = try host.endorsement(.p256).key
        exchange(own.publicFile, inAnswer: 1)
        let why = try refusal { _ = try host.makeAttestationKey(authorization, for: endorsement) }
        #expect(why.hasPrefix("its endorsement key is another than a moment before"), "\(why)")
        #expect(interposer.lastAnswer(to: .create) == nil)
    }

    @Test func aHierarchyWithAnAuthorizationIsTold() throws {
        let endorsement = try host.endorsement(.p256).key
        try tpm.send(0x129, handles: [0x4000_000b]) {
            $0.write(UInt16(3))
            $0.write("abc".utf8)
        }
        let error = #expect(throws: Failure.self) {
            try host.makeAttestationKey(authorization, for: endorsement)
        }
        #expect(
            error?.description
                == "cannot make the host's attestation key: the endorsement hierarchy of the host's TPM has an authorization"
                + " (take it away: tpm2_changeauth -c endorsement -p AUTH)"
        )
    }
}
