import Glibc
import Platform
import RuntimeAdministration
import Testing

@testable import RuntimeState

/// What reads a state's file while its user writes it.
@Suite struct StatesInUseTests {
    let host: HostWithStates
    let keys: KeyRing

    init() throws {
        host = try HostWithStates()
        keys = KeyRing(try MasterKey(secret(1)))
        try host.store("one", "web", keys)
    }

    private func problems() throws -> [String] {
        try host.repository(keys).verifyAll().compactMap { $0.problem?.description }
    }

    /// A copy as cp(1) makes it is what was acknowledged last, or later; or the refusal says what it is.
    @Test func aPlainCopyIsWholeOrSaysWhatItIs() throws {
        let load = StatesUnderLoad()
        try load.write("web", of: host, keys)
        var whole = 0
        for _ in 0..<500 {
            let before = try #require(load.acknowledgedSoFar()["web"])
            let file = try host.temporary.read("states/web/state")
            do throws(Failure) {
                let header = try StateFile(parsing: file, path: "copy")
                let own = try keys.instanceKeys(of: header, "web", path: "copy")
                let payload = try header.decode(file, keys: own, path: "copy")
                let number = StatesUnderLoad.number(in: payload) ?? -1
                #expect(number >= before)
                whole += 1
            } catch {
                #expect(error.why.contains("it was copied while it was written"), "\(error)")
            }
        }
        #expect(load.stop() == [])
        #expect(whole > 0)
    }

    @Test func aStateThatIsBeingWrittenIsNotCalledDamaged() throws {
        let load = StatesUnderLoad()
        try load.write("web", of: host, keys)
        for _ in 0..<200 { #expect(try problems() == []) }
        for _ in 0..<20 { #expect(try host.repository(keys).acceptAll() == []) }
        #expect(load.stop() == [])
    }

    /// The slots as a copy has them that began during one write, and ended during the next but one.
    private func mixed() throws -> [UInt8] {
        let store = try host.open("web", keys).store
        var files: [[UInt8]] = []
        for number in 0..<4 {
            try store.write(StatePayload(permanent: secretCopy(of: [UInt8(number)]), isComplete: true))
            files.append(try host.temporary.read("states/web/state"))
        }
        guard case .slots(let slots, _) = store.header.form else { return [] }
        return Array(files[1][..<slots.offset(of: 1)] + files[3][slots.offset(of: 1)...])
    }

    /// A reading that a write was caught in is followed by others.
    @Test func aCaughtWriteIsReadAgain() throws {
        let caught = try mixed()
        let whole = try host.temporary.read("states/web/state")
        let store = try host.open("web", keys, living: true).store
        let path = host.path
        let load = StatesUnderLoad()
        load.repeat {
            for content in [caught, whole] {
                let options = OpenOptions(O_WRONLY | O_CREAT | O_TRUNC, mode: 0o600)
                try Descriptor.open("\(path)/states/next", options).writeAll(content, "next")
                rename("\(path)/states/next", "\(path)/states/web/state")
            }
        }
        defer { withExtendedLifetime(store) {} }
        for _ in 0..<50 {
            #expect(throws: Never.self) { try host.repository(keys).verify("web") }
            #expect(try host.repository(keys).summary(of: "web")?.problem == nil)
        }
        #expect(load.stop() == [])
    }

    /// What stays so is damage, used or not: `list` says what `verify` and a start say.
    @Test(arguments: [true, false]) func aFileWithoutAWholeStateIsListedAsDamaged(isInUse: Bool) throws {
        let caught = try mixed()
        let store = isInUse ? try host.open("web", keys, living: true).store : nil
        try host.temporary.write("states/web/state", caught)
        let why = "it was copied while it was written, or its disk has lost a write"
        let summary = try #require(try host.repository(keys).summaries().first)
        #expect(summary.problem == why)
        #expect(summary.uuid != nil && summary.size == caught.count && summary.hasCurrentKey == true)
        let failure = #expect(throws: Failure.self) { try host.repository(keys).verify("web") }
        #expect(failure?.why == why)
        #expect(try host.repository(keys).acceptAll().map(\.why) == [why])
        withExtendedLifetime(store) {}
    }
}
