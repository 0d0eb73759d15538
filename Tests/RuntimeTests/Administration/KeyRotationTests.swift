import Configuration
import Glibc
import Platform
import RuntimeAdministration
import RuntimeKeys
import Testing

@testable import RuntimeState

@Suite struct KeyRotationTests {
    let host: HostWithStates
    let keychain: Keychain

    init() throws {
        host = try HostWithStates()
        keychain = Self.keychain(host)
        let keys = try keychain.load(isFirstUse: true)
        try host.store("one", "web", keys)
        try host.store("two", "a/b", keys)
    }

    static func keychain(_ host: HostWithStates, next: String? = nil) -> Keychain {
        var configuration = Configuration()
        configuration.key = .file(path: "\(host.path)/keys/master.key")
        configuration.nextKey = next.map { .file(path: "\(host.path)/keys/\($0)") }
        return Keychain(configuration, keysPath: "\(host.path)/keys", credentialsDirectory: nil)
    }

    func rotation(_ keys: KeyRing) throws -> KeyRotation {
        KeyRotation(
            try host.repository(keys),
            quarantine: Quarantine("\(host.path)/quarantine"),
            leases: "\(host.path)/run"
        )
    }

    /// All that `vtpmctl key rotate` does.
    func rotate(_ keychain: Keychain) throws -> (report: KeyRotation.Report, todo: String?) {
        try keychain.makeNext()
        let rotation = try rotation(keychain.load(isFirstUse: false))
        let report = try rotation.run()
        try #require(try rotation.remaining() == [])
        return (report, try keychain.finishRotation())
    }

    @Test func nothingNeedsTheOldKeyAfterwards() throws {
        let old = try keychain.load(isFirstUse: false)
        let (report, todo) = try rotate(keychain)
        #expect(report.atRest == 2 && report.running == 0 && todo == nil)
        let new = try keychain.load(isFirstUse: false)
        #expect(new.all.count == 1)
        #expect(new.current.id != old.current.id)
        #expect(try entries(of: host.temporary.directory("keys"), "") == ["master.key"])
        #expect(try host.load("web", new) == "one")
        #expect(try host.load("a/b", new) == "two")
        #expect(host.refusal("web", old).contains("needs the master key"))
    }

    @Test func itGoesOnWhereItWasInterrupted() throws {
        try keychain.makeNext()
        let both = try keychain.load(isFirstUse: false)
        #expect(both.all.count == 2)
        // One state is through, and a new one is made meanwhile.
        try host.store("three", "web", both)
        try host.store("new", "new", both)
        #expect(try host.header("web").keyID == both.current.id)
        #expect(try host.header("a/b").keyID != both.current.id)
        let (report, _) = try rotate(keychain)
        #expect(report.atRest == 1)
        let new = try keychain.load(isFirstUse: false)
        #expect(new.current.id == both.current.id)
        for (stateID, text) in [("web", "three"), ("a/b", "two"), ("new", "new")] {
            #expect(try host.load(stateID, new) == text)
        }
    }

    @Test func whatWasPutAsideGoesAlong() throws {
        let keys = try keychain.load(isFirstUse: false)
        let quarantine = Quarantine("\(host.path)/quarantine")
        _ = try host.repository(keys).reset("web", to: quarantine)
        try host.temporary.write("states/a%2Fb/state", [1, 2, 3])
        _ = try host.repository(keys).reset("a/b", to: quarantine)
        let (report, _) = try rotate(keychain)
        #expect(report.undecryptable.count == 1)
        let new = try keychain.load(isFirstUse: false)
        let aside = try quarantine.list()
        #expect(aside.compactMap(\.keyID) == [StateName.hexadecimal(new.current.id)])
    }

    @Test func itGoesToAnotherSource() throws {
        let keychain = Self.keychain(host, next: "other.key")
        let (_, todo) = try rotate(keychain)
        #expect(todo?.contains("[key.next]") == true)
        // The operator does as told.
        unlink("\(host.path)/keys/master.key")
        #expect(try host.load("web", keychain.load(isFirstUse: false)) == "one")
    }

    @Test func aStateThatIsInUseIsWaitedForAndNamed() throws {
        let keys = try keychain.load(isFirstUse: false)
        let store = try host.open("web", keys).store
        try keychain.makeNext()
        // Nobody answers for it: this process is no supervisor.
        let rotation = try rotation(keychain.load(isFirstUse: false))
        let error = #expect(throws: Failure.self) { try rotation.run(patience: 300) }
        #expect(error?.description.contains("in use and its supervisor cannot be reached") == true)
        withExtendedLifetime(store) {}
        #expect(try rotation.remaining() == ["\(host.path)/states/web"])
    }
}
