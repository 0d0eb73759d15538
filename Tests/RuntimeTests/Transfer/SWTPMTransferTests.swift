import Platform
import RuntimeTransfer
import Testing

/// A TPM that moves between swtpm and us stays the same TPM: swtpm, supervisor, worker and tpm2-tools are real.
@Suite(.serialized) struct SWTPMTransferTests {
    let temporary: TemporaryDirectory

    /// One way to start swtpm, and what opens the file that it writes.
    struct Form: Sendable, CustomTestStringConvertible {
        let name: String
        let option: String?
        let key: @Sendable () throws -> SWTPMKey?
        var testDescription: String { name }
    }

    private static let hexKey = "0123456789abcdef0123456789ABCDEF"
    private static let binaryKey = Array(UInt8(100)..<132)
    private static let text = "correct horse\n"

    /// What is written for it is in the first four; the others are only read.
    static let forms = [
        Form(name: "plain", option: nil) { nil },
        Form(name: "128", option: "file=hex,format=hex,mode=aes-cbc") { try .hexadecimal(secretText(hexKey + "\n")) },
        Form(name: "256", option: "file=bin,format=binary,mode=aes-256-cbc") { .key(try secretCopy(of: binaryKey)) },
        Form(name: "passphrase", option: "pwdfile=text,mode=aes-256-cbc") { .passphrase(try secretText(text)) },
        Form(name: "passphrase128", option: "pwdfile=text,kdf=pbkdf2") { .passphrase(try secretText(text)) },
        Form(name: "sha512", option: "pwdfile=text,kdf=sha512,mode=aes-256-cbc") { .passphrase(try secretText(text)) },
    ]

    init() throws {
        temporary = try TemporaryDirectory()
        try temporary.write("hex", Array("0x\(Self.hexKey)\n".utf8))
        try temporary.write("bin", Self.binaryKey)
        try temporary.write("text", Array(Self.text.utf8))
    }

    func start(_ directory: String, _ form: Form) throws -> SWTPMUnderTest {
        let option = form.option.map {
            $0.split(separator: "=", maxSplits: 1).joined(separator: "=\(temporary.path)/")
        }
        return try SWTPMUnderTest(directory, in: temporary, key: option)
    }

    /// The endorsement key of a new swtpm, with something stored in it, and the state that it left.
    func swtpm(_ directory: String, _ form: Form) throws -> (key: String, permanent: SecretBytes) {
        let tpm = try start(directory, form)
        let key = try tpm.endorsementKey()
        try tpm.run("tpm2_nvdefine -Q 0x1500001 -C o -s 7 -a 'ownerread|ownerwrite'")
        try tpm.run("printf content | tpm2_nvwrite -Q 0x1500001 -C o -i -")
        try tpm.stop()
        let file = try secretCopy(of: temporary.read("\(directory)/\(SWTPMUnderTest.fileName)"))
        return (key, try SWTPMState.decode(file, key: form.key(), path: ""))
    }

    /// Puts a state into the directory of a swtpm and starts it.
    func restart(_ directory: String, _ form: Form, with permanent: SecretBytes) throws -> SWTPMUnderTest {
        let file = try SWTPMState.encode(permanent, key: form.key())
        _ = try temporary.directory(directory)
        try temporary.write("\(directory)/\(SWTPMUnderTest.fileName)", plain(file))
        return try start(directory, form)
    }

    @Test(arguments: forms)
    func swtpmStartsFromWhatItWroteInEveryForm(source: Form) throws {
        let (key, permanent) = try swtpm("from", source)
        for target in Self.forms.prefix(4) {
            let tpm = try restart("to-\(target.name)", target, with: permanent)
            #expect(try tpm.endorsementKey() == key, "\(target.name)")
            #expect(try tpm.run("tpm2_nvread 0x1500001 -C o -s 7") == "content", "\(target.name)")
            try tpm.stop()
        }
    }

    @Test(arguments: forms.prefix(4))
    func ourVTPMStartsFromWhatSwtpmWrote(source: Form) throws {
        let (key, permanent) = try swtpm("from", source)
        try OwnStates.write(permanent, "web", in: temporary)
        let tpm = try VTPMUnderTest(in: temporary)
        try tpm.create()
        #expect(try tpm.endorsementKey() == key)
        #expect(try tpm.run("tpm2_nvread 0x1500001 -C o -s 7") == "content")
        #expect(try tpm.stop() == .exited(0))
    }

    @Test func swtpmStartsFromWhatOurVTPMLeft() throws {
        let own = try VTPMUnderTest(in: temporary)
        try own.create()
        let key = try own.endorsementKey()
        try own.run("tpm2_nvdefine -Q 0x1500001 -C o -s 7 -a 'ownerread|ownerwrite'")
        try own.run("printf content | tpm2_nvwrite -Q 0x1500001 -C o -i -")
        #expect(try own.stop() == .exited(0))
        let permanent = try OwnStates.read("web", in: temporary)
        for target in Self.forms.prefix(4) {
            let tpm = try restart("to-\(target.name)", target, with: permanent)
            #expect(try tpm.endorsementKey() == key, "\(target.name)")
            #expect(try tpm.run("tpm2_nvread 0x1500001 -C o -s 7") == "content", "\(target.name)")
            try tpm.stop()
        }
    }

    @Test func anExportCarriesOurVTPMToAnotherHost() throws {
        let own = try VTPMUnderTest(in: temporary)
        try own.create()
        let key = try own.endorsementKey()
        #expect(try own.stop() == .exited(0))
        let state = ExportedState(stateID: "web", permanent: try OwnStates.read("web", in: temporary))
        let passphrase = try secretText("correct horse")
        let file = try StateExport.seal(state, with: .passphrase(passphrase))
        let opened = try StateExport.open(file, with: .passphrase(passphrase), path: "")

        let otherHost = try TemporaryDirectory()
        try OwnStates.write(opened.permanent, opened.stateID, in: otherHost)
        let moved = try VTPMUnderTest(in: otherHost)
        try moved.create()
        #expect(try moved.endorsementKey() == key)
        #expect(try moved.stop() == .exited(0))
    }

    /// As Proxmox VE keeps it, which gives it 4 MiB.
    @Test(arguments: [forms[0], forms[2]]) func ourVTPMStartsFromAStoreOfTheFileBackend(form: Form) throws {
        let store = "backend-uri=file://\(temporary.path)/linear/store"
        let option = form.option.map {
            $0.split(separator: "=", maxSplits: 1).joined(separator: "=\(temporary.path)/")
        }
        let tpm = try SWTPMUnderTest("linear", in: temporary, key: option, store: store)
        let key = try tpm.endorsementKey()
        try tpm.stop()
        try temporary.shell("truncate -s 4M linear/store")
        let file = try secretCopy(of: temporary.read("linear/store"))
        try OwnStates.write(SWTPMState.decode(file, key: form.key(), path: "/x"), "web", in: temporary)
        let own = try VTPMUnderTest(in: temporary)
        try own.create()
        #expect(try own.endorsementKey() == key)
        #expect(try own.stop() == .exited(0))
    }

    /// What is in a key file means the same to swtpm and to us, or nothing is written.
    @Test(arguments: ["0x\(hexKey)", "\(hexKey)\n", hexKey, hexKey + hexKey])
    func aKeyFileMeansTheSameToSwtpm(content: String) throws {
        let mode = content.utf8.count == 64 ? "aes-256-cbc" : "aes-128-cbc"
        try temporary.write("key", Array(content.utf8))
        let form = Form(name: content, option: "file=key,format=hex,mode=\(mode)") {
            .keyFile(try secretText(content))
        }
        let (key, permanent) = try swtpm("from", form)
        guard content != Self.hexKey else {
            let file = try secretText(content)
            let text = words { () throws(Failure) in _ = try SWTPMState.encode(permanent, key: .keyFile(file)) }
            #expect(text.contains("put 0x before the digits"))
            return
        }
        let tpm = try restart("to", form, with: permanent)
        #expect(try tpm.endorsementKey() == key)
        try tpm.stop()
    }
}
