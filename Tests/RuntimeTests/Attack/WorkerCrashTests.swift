import Platform
import RuntimeControl
import Testing

@testable import RuntimeHostTPM

/// A command that damages the worker's own memory ends that worker at most.
@Suite struct WorkerCrashTests {
    let temporary: TemporaryDirectory

    init() throws {
        temporary = try TemporaryDirectory()
    }

    /// stefanberger/libtpms#619: TPM2_Import writes past the end of an object on the stack.
    ///
    /// Where the object's authorization is longer than a digest of its name algorithm and the parent's `fixedTPM` is clear,
    /// a length underflows (MemoryPad2B). A libtpms without the fault refuses the command; with it the worker dies, as with
    /// every fault of this kind that is not known yet.
    @Test func aFaultInLibtpmsIsOneFailedTPM() throws {
        let neighbour = try VTPMUnderTest(in: temporary, stateID: "neighbour")
        try neighbour.create()
        let tpm = try VTPMUnderTest(in: temporary)
        try tpm.create()
        let key = try tpm.endorsementKey()
        try loadParent(tpm)
        // With an authorization as long as a digest the command is a right one: it is the length that does it.
        let right = try importObject(authorization: 20, tpm)
        #expect(right.code == 0, "\(hex(right.bytes))")
        let answer = try importObject(authorization: 64, tpm)
        print("TPM2_Import with a long authorization: \(hex(answer.bytes))")
        #expect(answer.code != 0)
        if answer.code == 0x101 {
            for _ in 0..<3 { #expect(try tpm.transmit(getRandom) == failureResponse) }
            #expect(try tpm.status().health == .failed)
            #expect(try tpm.status().reason.contains("its worker ended with signal"))
        } else {
            #expect(try tpm.status().health == .serving)
        }
        #expect(try neighbour.status().health == .serving)
        #expect(try neighbour.transmit(getRandom).count == 20)
        #expect(try tpm.stop() == .exited(0))
        let again = try VTPMUnderTest(in: temporary)
        try again.create()
        #expect(try again.endorsementKey() == key)
        try again.stop()
    }

    private func importObject(authorization size: Int, _ tpm: VTPMUnderTest) throws -> TPMAnswer {
        var sensitive = ByteWriter()
        sensitive.write(UInt16(0x0008))
        sensitive.write(sized: [UInt8](repeating: 0x41, count: size))
        sensitive.write(sized: [UInt8](repeating: 0x42, count: 20))
        sensitive.write(sized: [1])
        var sized = ByteWriter()
        sized.write(sized: sensitive.bytes)
        // A KEYEDHASH object with SHA-1 as its name algorithm, userWithAuth, no scheme; SHA-1 of its seed and its data.
        let unique: [UInt8] = [
            0xf7, 0x46, 0x19, 0x6e, 0xed, 0xfb, 0x0d, 0x15, 0xc5, 0x35, 0x7f, 0xbb, 0xcd, 0x87, 0x84, 0xc3, 0xf0, 0x89,
            0xff, 0xfd,
        ]
        let area: [UInt8] = [0, 8, 0, 4, 0, 0, 0, 0x40, 0, 0, 0, 0x10, 0, 20] + unique
        let command = TPMRequest(0x156, [0x8000_0001], isAuthorized: true) {
            $0.write(sized: [])
            $0.write(sized: area)
            $0.write(sized: sized.bytes)
            $0.write([0, 0, 0, 0x10] as [UInt8])
        }
        let answer = TPMAnswer(bytes: try tpm.transmit(command.bytes))
        // TPM_RC_RETRY: the first use of a key that is protected against dictionary attacks is stored first.
        return answer.code == 0x922 ? TPMAnswer(bytes: try tpm.transmit(command.bytes)) : answer
    }

    /// A storage key that may be duplicated, as 0x80000001.
    private func loadParent(_ tpm: VTPMUnderTest) throws {
        try succeed(CommandCorpus.createPrimary(Handle.owner, StorageKey.template), tpm.transmit)
        // restricted, decrypt, userWithAuth, sensitiveDataOrigin; neither fixedTPM nor fixedParent.
        var template = StorageKey.template
        template.replaceSubrange(4..<8, with: [0, 3, 0, 0x60])
        var created = try succeed(CommandCorpus.create(template), tpm.transmit).parameters()
        let key = (created.readSized() ?? [], created.readSized() ?? [])
        let load = TPMRequest(0x157, [CommandCorpus.parent], isAuthorized: true) {
            $0.write(sized: key.0)
            $0.write(sized: key.1)
        }
        try #require(try succeed(load, tpm.transmit).handle == 0x8000_0001)
    }
}
