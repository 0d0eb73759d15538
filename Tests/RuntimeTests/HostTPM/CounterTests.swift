import Platform
import Testing

@testable import RuntimeHostTPM

@Suite struct CounterTests {
    let temporary: TemporaryDirectory
    let tpm: SoftwareTPM
    let host: HostTPM
    let index: UInt32 = 0x0180_0001

    init() throws {
        temporary = try TemporaryDirectory()
        tpm = try SoftwareTPM(in: "\(temporary.path)/tpm")
        host = HostTPM(transport: tpm)
    }

    /// The error's reason, once nothing was found to be left in the TPM.
    func refusal(_ body: () throws -> Void) throws -> String {
        let error = #expect(throws: Failure.self) { try body() }
        #expect(try tpm.temporaryHandles() == [])
        return error?.why ?? ""
    }

    @Test(arguments: [false, true]) func onlyGoesForward(isRSA: Bool) throws {
        if isRSA { try host.makeStorageKey(from: Templates.rsa) }
        #expect(try !host.counterExists(index))
        let counter = try host.defineCounter(index)
        #expect(try host.counterExists(index))
        var value = try host.readCounter(counter)
        for _ in 0..<5 {
            #expect(try host.incrementCounter(counter) == value + 1)
            value += 1
            #expect(try host.readCounter(counter) == value)
        }
        #expect(try tpm.temporaryHandles() == [])
        try host.undefineCounter(index)
        #expect(try !host.counterExists(index))
    }

    @Test func survivesARestart() throws {
        let counter = try host.defineCounter(index)
        let value = try host.incrementCounter(counter)
        tpm.stop()
        try tpm.start()
        #expect(try HostTPM(transport: tpm).readCounter(counter) == value)
    }

    @Test func twoClientsCountTogether() throws {
        let counter = try host.defineCounter(index)
        let other = HostTPM(transport: tpm)
        let value = try host.readCounter(counter)
        #expect(try other.incrementCounter(counter) == value + 1)
        #expect(try host.incrementCounter(counter) == value + 2)
        #expect(try other.readCounter(counter) == value + 2)
        #expect(try host.readCounter(counter) == value + 2)
    }

    @Test func twoCountersAreTwo() throws {
        let first = try host.defineCounter(index)
        let second = try host.defineCounter(index + 1)
        let value = try host.readCounter(first)
        _ = try host.incrementCounter(second)
        #expect(try host.readCounter(first) == value)
        #expect(first.name != second.name)
    }

    @Test func aCounterThatIsDefinedAgainIsAnother() throws {
        let counter = try host.defineCounter(index)
        let value = try host.incrementCounter(counter)
        try host.undefineCounter(index)
        #expect(try refusal { _ = try host.readCounter(counter) } == "it is not in the TPM any more")
        let again = try host.defineCounter(index)
        for use in [host.readCounter, host.incrementCounter] {
            #expect(
                try refusal { _ = try use(counter) }
                    == "it was removed from the TPM, and the NV index was defined again"
            )
        }
        // Nothing is taken back by it.
        #expect(try host.readCounter(again) > value)
    }

    @Test func whoForgesAnIdentityGoesForwardOnly() throws {
        // All of an index's public area is known; somebody defines the same again, so that the name is the same.
        let counter = try host.defineCounter(index)
        for _ in 0..<3 { _ = try host.incrementCounter(counter) }
        let value = try host.readCounter(counter)
        let area = try tpm.publicArea(of: index)
        try host.undefineCounter(index)
        try tpm.define(area)
        try tpm.increment(index)
        #expect(try host.readCounter(counter) > value)
    }

    @Test func theSameCounterInAnotherTPMIsRefused() throws {
        let counter = try host.defineCounter(index)
        let value = try host.incrementCounter(counter)
        let other = try SoftwareTPM(in: "\(temporary.path)/other")
        try HostTPM(transport: other).makeStorageKey(from: StorageKey.template)
        try other.define(tpm.publicArea(of: index))
        try other.increment(index)
        // It has the same name and an older value: the storage key alone tells it apart.
        #expect(try other.publicArea(of: index) == tpm.publicArea(of: index))
        #expect(
            try refusal { _ = try HostTPM(transport: other).readCounter(counter) }
                .contains("the TPM's storage key 0x81000001 is another than before")
        )
        #expect(try host.readCounter(counter) == value)
    }

    @Test func aTakenIndexIsRefused() throws {
        _ = try host.defineCounter(index)
        #expect(try refusal { _ = try host.defineCounter(index) } == "the TPM has this NV index already")
        #expect(try host.counterExists(index))
    }

    @Test func anotherKindOfIndexIsLeftAlone() throws {
        // Ordinary, 8 bytes, for the owner.
        try tpm.define(NVPublic(decoding: [0x01, 0x80, 0, 1, 0, 0x0b, 0x00, 0x02, 0x00, 0x02, 0, 0, 0, 8]))
        #expect(try host.counterExists(index))
        #expect(try refusal { _ = try host.defineCounter(index) } == "the TPM has this NV index already")
        #expect(try refusal { try host.undefineCounter(index) } == "the NV index is no counter of ours")
        #expect(try host.counterExists(index))
    }

    @Test(arguments: [0x8100_0001, 0x4000_0001, 0, 0x0200_0000] as [UInt32])
    func whatIsNoIndexIsRefused(handle: UInt32) throws {
        #expect(try refusal { _ = try host.defineCounter(handle) } == "it is no NV index")
        #expect(try refusal { try host.undefineCounter(handle) } == "it is no NV index")
    }

    @Test func aReplacedStorageKeyIsRefused() throws {
        let counter = try host.defineCounter(index)
        try tpm.evict(0x8100_0001)
        #expect(try refusal { _ = try host.readCounter(counter) }.contains("is not in the TPM any more"))
        try host.makeStorageKey(from: Templates.otherECC)
        #expect(try refusal { _ = try host.readCounter(counter) }.contains("is another than before"))
    }

    @Test func anOwnerWithAnAuthorizationHasToHelp() throws {
        let counter = try host.defineCounter(index)
        try tpm.setOwnerAuthorization()
        let words = "TPM_RC_BAD_AUTH (0x9a2): the TPM's owner has set an authorization"
        #expect(try refusal { _ = try host.defineCounter(index + 1) } == "TPM2_NV_DefineSpace: \(words)")
        #expect(try refusal { try host.undefineCounter(index) } == "TPM2_NV_UndefineSpace: \(words)")
        // What needs no owner goes on.
        #expect(try host.incrementCounter(counter) == host.readCounter(counter))
    }

    @Test func whatFailsHalfWayIsNotLeft() throws {
        let interposer = Interposer(before: tpm)
        for code in [CommandCode.startAuthSession, .nvIncrement, .nvRead] {
            interposer.change = { $0 == code.rawValue ? makeAnswer(code: 0x101) : $1 }
            let why = try refusalLeavingSessions { _ = try HostTPM(transport: interposer).defineCounter(index) }
            #expect(why == "\(code.name): TPM_RC_FAILURE (0x101)")
            #expect(try !host.counterExists(index))
        }
    }

    @Test func anIdentityIsWrittenAndRead() throws {
        let counter = try host.defineCounter(index)
        var writer = ByteWriter()
        counter.write(to: &writer)
        writer.write(UInt8(9))
        var reader = ByteReader(writer.bytes)
        #expect(CounterIdentity(&reader) == counter)
        #expect(reader.remaining == 1)
        for count in 0..<writer.bytes.count - 1 {
            var part = ByteReader(Array(writer.bytes[..<count]))
            #expect(CounterIdentity(&part) == nil)
        }
    }
}

extension CounterTests {
    /// As ``refusal(_:)``, where the client was kept from learning what there is to be flushed.
    func refusalLeavingSessions(_ body: () throws -> Void) throws -> String {
        let error = #expect(throws: Failure.self) { try body() }
        try tpm.flushAll()
        return error?.why ?? ""
    }
}
