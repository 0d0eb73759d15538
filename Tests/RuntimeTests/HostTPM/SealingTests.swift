import Glibc
import Platform
import Testing

@testable import RuntimeHostTPM
@testable import RuntimePCR

@Suite struct SealingTests {
    let temporary: TemporaryDirectory
    let tpm: SoftwareTPM
    let interposer: Interposer
    let host: HostTPM

    init() throws {
        temporary = try TemporaryDirectory()
        tpm = try SoftwareTPM(in: "\(temporary.path)/tpm")
        interposer = Interposer(before: tpm)
        host = HostTPM(transport: interposer)
    }

    /// The error's text, once the TPM was found to be left as it was.
    func refusal(_ sealed: SealedSecret, by other: HostTPM? = nil) throws -> String {
        let error = #expect(throws: Failure.self) { try (other ?? host).unseal(sealed) }
        #expect(try tpm.temporaryHandles() == [])
        return error?.description ?? ""
    }

    @Test(arguments: [
        "sha256:0-4,6-14", "sha256:16", "sha256:0-23", "sha256:1,3,5,7,9,11,13,15,17,19,21,23", "sha512:0-8+sha1:3,0",
    ])
    func unsealsWhatItSealed(pcrs: String) throws {
        let selection = try PCRSelection(parsing: pcrs)
        let sealed = try host.seal(makeSecret(), pcrs: selection)
        #expect(sealed.pcrs == selection)
        #expect(try tpm.temporaryHandles() == [])
        #expect(try contents(host.unseal(sealed)) == plaintext)
        #expect(try tpm.temporaryHandles() == [])
    }

    @Test(arguments: [1, 32, 128]) func sealsAllSizes(size: Int) throws {
        let bytes = (0..<size).map { UInt8($0) }
        #expect(try contents(host.unseal(host.seal(makeSecret(bytes), pcrs: .standard))) == bytes)
    }

    @Test(arguments: [0, 129]) func refusesOtherSizes(size: Int) throws {
        let error = #expect(throws: Failure.self) {
            try host.seal(makeSecret([UInt8](repeating: 1, count: size)), pcrs: .standard)
        }
        #expect(error?.why == "it has \(size) bytes, and a TPM takes 1 to 128")
    }

    @Test func takesTheStorageKeyThatIsThere() throws {
        try host.makeStorageKey(from: Templates.rsa)
        let sealed = try host.seal(makeSecret(), pcrs: .standard)
        #expect(interposer.traffic.contains { $0.count > 256 }, "an RSA key was used")
        #expect(try contents(host.unseal(sealed)) == plaintext)
        #expect(try tpm.temporaryHandles() == [])
    }

    @Test func keepsTheUsualStorageKey() throws {
        let sealed = try host.seal(makeSecret(), pcrs: .standard)
        let commands = interposer.traffic.count
        // Made from the same template once more, it is the same key, and the place is taken.
        try host.makeStorageKey(from: StorageKey.template)
        #expect(try contents(host.unseal(sealed)) == plaintext)
        #expect(commands < interposer.traffic.count)
        #expect(try host.seal(makeSecret(), pcrs: .standard).keyName == sealed.keyName)
    }

    @Test func survivesARestart() throws {
        let encoded = try host.seal(makeSecret(), pcrs: .standard).encoded
        tpm.stop()
        try tpm.start()
        let sealed = try SealedSecret(decoding: encoded, path: "sealed")
        #expect(try contents(HostTPM(transport: tpm).unseal(sealed)) == plaintext)
    }

    @Test func theSecretIsNeverSentInTheOpen() throws {
        let sealed = try host.seal(makeSecret(), pcrs: .standard)
        #expect(try contents(host.unseal(sealed)) == plaintext)
        #expect(interposer.traffic.count > 10)
        let all = interposer.traffic.joined() + (try sealed.encoded)
        // Eight bytes of it are enough to give it away.
        for start in stride(from: 0, to: plaintext.count, by: 8) {
            #expect(!contains(Array(all), Array(plaintext[start..<start + 8])))
        }
        // The search finds what is there.
        #expect(contains(Array(all), Array(sealed.policy[..<8])))
    }

    func contains(_ all: [UInt8], _ part: [UInt8]) -> Bool {
        (0...all.count - part.count).contains { all[$0..<$0 + part.count].elementsEqual(part) }
    }

    @Test func changedPCRsAreToldApart() throws {
        let sealed = try host.seal(makeSecret(), pcrs: .standard)
        try tpm.extend(5)
        #expect(try contents(host.unseal(sealed)) == plaintext, "PCR 5 is not in the selection")
        try tpm.extend(8)
        #expect(
            try refusal(sealed)
                == "cannot unseal the secret with the host's TPM: the host's PCRs changed: it is sealed under "
                + "sha256:0-4,6-14 (boot the measured system again, or restore the master key with vtpmctl key import)"
        )
        let again = try host.seal(makeSecret(), pcrs: .standard)
        #expect(try contents(host.unseal(again)) == plaintext)
    }

    @Test func theTPMItselfRefusesChangedPCRs() throws {
        // Somebody tells us that the PCRs are as they were: that is not what keeps the secret.
        let sealed = try host.seal(makeSecret(), pcrs: .standard)
        try tpm.extend(8)
        interposer.change = { code, answer in code == 0x189 ? Array(answer.dropLast(32)) + sealed.policy : answer }
        #expect(try refusal(sealed).contains("TPM2_Unseal: TPM_RC_POLICY_FAIL (0x99d)"))
    }

    @Test func theEmptyAuthorizationDoesNotOpenIt() throws {
        let sealed = try host.seal(makeSecret(), pcrs: .standard)
        try tpm.extend(8)
        let key = try host.link("").storageKeyOrNew()
        var load = Command(.load)
        load.handles = [.init(key.handle, name: key.name)]
        load.authorization = .password
        load.parameters.write(sized: sealed.privateArea)
        load.parameters.write(sized: sealed.publicArea)
        load.returnsHandle = true
        let object = try host.link("").run(load).handle
        for usesSession in [false, true] {
            let error = #expect(throws: Failure.self) {
                try host.link("").withSession(.hmac, key) { (session) throws(Failure) in
                    var unseal = Command(.unseal)
                    unseal.handles = [.init(object, name: try entityName(ofPublicArea: sealed.publicArea))]
                    unseal.authorization = usesSession ? .session(session) : .password
                    _ = try host.link("").run(unseal)
                }
            }
            #expect(error?.why.contains("TPM_RC_AUTH_UNAVAILABLE (0x12f)") == true, "\(error?.description ?? "")")
        }
    }

    @Test func anotherTPMIsRefused() throws {
        let sealed = try host.seal(makeSecret(), pcrs: .standard)
        let other = try SoftwareTPM(in: "\(temporary.path)/other")
        #expect(
            try refusal(sealed, by: HostTPM(transport: other))
                .contains("its storage key 0x81000001 is not in the TPM any more")
        )
        try HostTPM(transport: other).makeStorageKey(from: StorageKey.template)
        #expect(
            try refusal(sealed, by: HostTPM(transport: other))
                .contains("the TPM's storage key 0x81000001 is another than before")
        )
    }

    @Test func aReplacedStorageKeyIsRefused() throws {
        let sealed = try host.seal(makeSecret(), pcrs: .standard)
        try tpm.evict(0x8100_0001)
        #expect(try refusal(sealed).contains("is not in the TPM any more"))
        try host.makeStorageKey(from: Templates.otherECC)
        #expect(try refusal(sealed).contains("is another than before"))
        // The old one can be had again, since it follows from the template.
        try tpm.evict(0x8100_0001)
        try host.makeStorageKey(from: StorageKey.template)
        #expect(try contents(host.unseal(sealed)) == plaintext)
    }

    @Test func aKeyThatIsNoStorageKeyIsRefused() throws {
        try host.makeStorageKey(from: Templates.signing)
        let error = #expect(throws: Failure.self) { try host.seal(makeSecret(), pcrs: .standard) }
        #expect(
            error?.why == "the TPM's key 0x81000001 cannot be used as storage key: "
                + "it is no restricted decryption key that only this TPM has"
        )
        #expect(try tpm.temporaryHandles() == [])
    }

    @Test func anOwnerWithAnAuthorizationHasToHelp() throws {
        try tpm.setOwnerAuthorization()
        let error = #expect(throws: Failure.self) { try host.seal(makeSecret(), pcrs: .standard) }
        #expect(
            error?.why == "TPM2_CreatePrimary: TPM_RC_BAD_AUTH (0x9a2): the TPM's owner has set an authorization"
        )
        #expect(error?.hint?.contains("tpm2_evictcontrol -C o -P AUTH -c srk.ctx 0x81000001") == true)
        #expect(try tpm.temporaryHandles() == [])
    }

    @Test func aStorageKeyIsEnoughWithoutTheOwner() throws {
        try host.makeStorageKey(from: StorageKey.template)
        try tpm.setOwnerAuthorization()
        #expect(try contents(host.unseal(host.seal(makeSecret(), pcrs: .standard))) == plaintext)
    }

    @Test func aMissingBankIsNamed() throws {
        let selection = try PCRSelection(parsing: "sha256:0+sha512:0-3")
        #expect(try contents(host.unseal(host.seal(makeSecret(), pcrs: selection))) == plaintext)
        // TPM2_PCR_Allocate by the platform, which a start of the TPM puts into force: SHA-512 has no PCRs.
        try tpm.send(0x12b, handles: [0x4000_000c]) {
            $0.write(UInt32(1))
            $0.write(UInt16(0x000d))
            $0.write([3, 0, 0, 0] as [UInt8])
        }
        tpm.stop()
        try tpm.start()
        let error = #expect(throws: Failure.self) { try host.seal(makeSecret(), pcrs: selection) }
        #expect(error?.why == "the TPM has no PCRs in its bank sha512")
        #expect(try tpm.temporaryHandles() == [])
    }
}
