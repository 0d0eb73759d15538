import Platform
import RuntimeTransfer
import Testing

@testable import RuntimeHostTPM

/// The tenant does not get at what belongs to the platform: the seeds, the PCR banks, and NV that the platform made.
///
/// No certificates are put into NV yet. An index as they will have it is made here by a swtpm, whose platform hierarchy is
/// open; its state then goes to a vTPM of ours, and in the end back to a swtpm, which shows what the seeds are.
@Suite(.serialized) struct PlatformHierarchyTests {
    let temporary: TemporaryDirectory

    init() throws {
        temporary = try TemporaryDirectory()
    }

    static let content: [UInt8] = Array("platform".utf8)

    /// What belongs to the platform.
    struct Possessions: Equatable {
        /// A key that is derived from the platform's seed, and one from the endorsement seed.
        let keys: [[UInt8]]
        let content: [UInt8]

        init(of tpm: SoftwareTPM) throws {
            keys = try [Handle.platform, Handle.endorsement].map {
                let request = CommandCorpus.createPrimary($0, StorageKey.template)
                let answer = try succeed(request, tpm.transmit)
                try succeed(CommandCorpus.flush(#require(answer.handle)), tpm.transmit)
                var parameters = answer.parameters(handles: 1)
                let area = parameters.readSized()
                return try #require(area)
            }
            content = try read(PlatformCommand.index, by: Handle.platform, tpm.transmit)
        }
    }

    private static func read(_ index: UInt32, by hierarchy: UInt32, _ transmit: Transmit) throws -> [UInt8] {
        let request = TPMRequest(0x14e, [hierarchy, index], isAuthorized: true) { $0.write([0, 8, 0, 0] as [UInt8]) }
        var parameters = try succeed(request, transmit).parameters()
        let bytes = parameters.readSized()
        return try #require(bytes)
    }

    /// A swtpm with an index of the platform's.
    private func makeSWTPM() throws -> SoftwareTPM {
        let tpm = try SoftwareTPM(in: "\(temporary.path)/swtpm")
        try succeed(CommandCorpus.define(PlatformCommand.index, by: Handle.platform), tpm.transmit)
        let write = TPMRequest(0x137, [Handle.platform, PlatformCommand.index], isAuthorized: true) {
            $0.write(sized: Self.content)
            $0.write(UInt16(0))
        }
        try succeed(write, tpm.transmit)
        return tpm
    }

    /// The commands are right: where the platform hierarchy is open each of them is executed.
    @Test func anOpenHierarchyExecutesThemAll() throws {
        let tpm = try makeSWTPM()
        let before = try Possessions(of: tpm)
        try succeed(CommandCorpus.startSession(1), tpm.transmit)
        for command in PlatformCommand.all where command.name != "HierarchyControl: platform off" {
            let answer = TPMAnswer(bytes: try tpm.transmit(command.bytes))
            #expect(answer.code == command.open, "\(command.name): \(hex(answer.bytes))")
        }
        tpm.stop()
        try tpm.start()
        let after = try Possessions(of: tpm)
        #expect(zip(before.keys, after.keys).allSatisfy { $0 != $1 } && before.content != after.content)
    }

    @Test func theTenantGetsNoneOfThem() throws {
        let swtpm = try makeSWTPM()
        let before = try Possessions(of: swtpm)
        swtpm.stop()
        let file = try secretCopy(of: temporary.read("swtpm/\(SWTPMUnderTest.fileName)"))
        try OwnStates.write(SWTPMState.decode(file, key: nil, path: ""), "web", in: temporary)
        let tpm = try VTPMUnderTest(in: temporary)
        try tpm.create()
        let key = try tpm.endorsementKey()
        let banks = try tpm.run("tpm2_getcap pcrs")
        try succeed(CommandCorpus.startSession(1), tpm.transmit)
        try succeed(CommandCorpus.startSession(0), tpm.transmit)
        try succeed(CommandCorpus.createPrimary(Handle.owner, StorageKey.template), tpm.transmit)

        try attackByName(tpm)
        try attackByCode(tpm)
        try attackWithOwnAuthorizations(tpm)

        try flushAll(tpm)
        let properties = try tpm.run("tpm2_getcap properties-variable")
        #expect(properties.contains("phEnable:                  0"), "\(properties)")
        #expect(properties.contains("phEnableNV:                1"), "\(properties)")
        #expect(try tpm.endorsementKey() == key)
        // The tenant's right: all that is the tenant's goes, and nothing else.
        try succeed(TPMRequest(0x126, [Handle.lockout], isAuthorized: true), tpm.transmit)
        #expect(try tpm.endorsementKey() == key)
        #expect(try Self.read(PlatformCommand.index, by: Handle.owner, tpm.transmit) == Self.content)
        #expect(try tpm.run("tpm2_getcap pcrs") == banks)
        #expect(try tpm.stop() == .exited(0))

        let permanent = try OwnStates.read("web", in: temporary)
        _ = try temporary.directory("back")
        try temporary.write("back/\(SWTPMUnderTest.fileName)", plain(SWTPMState.encode(permanent, key: nil)))
        #expect(try Possessions(of: SoftwareTPM(in: "\(temporary.path)/back")) == before)
    }

    /// TPM_RC_HIERARCHY of the first handle: it is disabled.
    private static let disabled: UInt32 = 0x185

    private func attackByName(_ tpm: VTPMUnderTest) throws {
        for command in PlatformCommand.all {
            let expected = command.open == PlatformCommand.unknown ? PlatformCommand.unknown : Self.disabled
            for session in [Handle.password, 0x0200_0001, 0x0300_0000] {
                var bytes = command.bytes
                // The session's handle follows the command's own and the size of the authorizations.
                let place = try #require((10..<bytes.count).first { Array(bytes[$0...].prefix(8)) == passwordArea })
                var writer = ByteWriter()
                writer.write(session)
                bytes.replaceSubrange(place + 4..<place + 8, with: writer.bytes)
                let answer = TPMAnswer(bytes: try tpm.transmit(bytes))
                #expect(answer.code == expected, "\(command.name), session \(session): \(hex(answer.bytes))")
            }
        }
    }

    private let passwordArea: [UInt8] = [0, 0, 0, 9, 0x40, 0, 0, 9]

    /// Every code there is, with the platform's handle in each place that can have one.
    private func attackByCode(_ tpm: VTPMUnderTest) throws {
        var refused: Set<UInt32> = []
        for code: UInt32 in 0x11f...0x1ff {
            for handles in [[Handle.platform], [Handle.platform, 0x8000_0000], [0x8000_0000, Handle.platform]] {
                for size in [0, 2, 4, 8, 16, 64] {
                    var request = TPMRequest(code, handles, isAuthorized: true)
                    request.parameters = [UInt8](repeating: 0, count: size)
                    let answer = TPMAnswer(bytes: try tpm.transmit(request.bytes))
                    #expect(answer.code != 0, "\(hex(request.bytes))")
                    if answer.code == Self.disabled { refused.insert(code) }
                }
            }
        }
        // Those whose other handle is not one of an index or a session, which would be looked at first.
        let expected: Set<UInt32> = [
            0x120, 0x121, 0x124, 0x125, 0x126, 0x127, 0x128, 0x129, 0x12a, 0x12b, 0x12c, 0x12d, 0x12e, 0x130, 0x131,
            0x132, 0x13f, 0x140, 0x191,
        ]
        #expect(refused == expected)
    }

    /// What the platform alone may do, with the authorizations that the tenant has.
    private func attackWithOwnAuthorizations(_ tpm: VTPMUnderTest) throws {
        let names: Set = [
            "HierarchyControl: platform on", "HierarchyControl: platform NV off", "PCR_Allocate", "SetAlgorithmSet",
            "NV_Write", "NV_WriteLock", "ChangeEPS", "ChangePPS", "PP_Commands", "PCR_SetAuthPolicy",
        ]
        let commands = PlatformCommand.all.filter { names.contains($0.name) }
        try #require(commands.count == names.count)
        let undefine = TPMRequest(0x122, [Handle.platform, PlatformCommand.index], isAuthorized: true).bytes
        for hierarchy in [Handle.owner, Handle.endorsement, Handle.lockout, Handle.null, PlatformCommand.index] {
            for bytes in commands.map(\.bytes) + [undefine] {
                var bytes = bytes
                var writer = ByteWriter()
                writer.write(hierarchy)
                bytes.replaceSubrange(10..<14, with: writer.bytes)
                let answer = TPMAnswer(bytes: try tpm.transmit(bytes))
                #expect(answer.code != 0, "\(hex(bytes))")
            }
        }
    }

    private func flushAll(_ tpm: VTPMUnderTest) throws {
        for first: UInt32 in [0x8000_0000, 0x0200_0000, 0x0300_0000] {
            let answer = try succeed(CommandCorpus.list(first), tpm.transmit)
            var reader = ByteReader(Array(answer.bytes.dropFirst(15)))
            _ = reader.read(UInt32.self)
            while let handle = reader.read(UInt32.self) { try succeed(CommandCorpus.flush(handle), tpm.transmit) }
        }
    }
}
