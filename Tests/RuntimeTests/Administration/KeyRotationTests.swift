import Configuration
import Crypto
import Glibc
import Platform
import RuntimeAdministration
import RuntimeKeys
import Testing

@testable import RuntimeState

@Suite struct KeyRotationTests {
    let host: HostWithStates
    let keychain: MasterKeyProvider

    init() throws {
        host = try HostWithStates()
        keychain = Self.keychain(host)
        let keys = try keychain.load(isFirstUse: true)
        try host.store("one", "web", keys)
        try host.store("two", "a/b", keys)
    }

    static func keychain(_ host: HostWithStates, next: String? = nil) -> MasterKeyProvider {
        var configuration = Configuration()
        configuration.key = .file(path: "\(host.path)/keys/master.key")
        configuration.nextKey = next.map { .file(path: "\(host.path)/keys/\($0)") }
        return MasterKeyProvider(configuration, keysPath: "\(host.path)/keys", credentialsDirectory: nil)
    }

    func rotation(_ keys: KeyRing) throws -> KeyRotation {
        KeyRotation(
            try host.repository(keys),
            quarantine: Quarantine("\(host.path)/quarantine"),
            leases: "\(host.path)/run"
        )
    }

    /// All that `vtpmctl key rotate` does.
    func rotate(_ keychain: MasterKeyProvider) throws -> (report: KeyRotation.Report, todo: String?) {
        try keychain.makeNext()
        let rotation = try rotation(keychain.load(isFirstUse: false))
        let report = try rotation.run()
        try #require(try rotation.remaining() == [])
        return (report, try keychain.finishRotation(to: rotation.keyID))
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

    @Test func whatIsNoStateIsPassedOver() throws {
        try host.temporary.write("states/notes", [1])
        _ = try openOwnDirectory("\(host.path)/states/empty")
        let (report, todo) = try rotate(keychain)
        #expect(report.atRest == 2 && report.refused.isEmpty && todo == nil)
        #expect(report.strangers.map(\.why) == ["it is no directory"])
        let new = try keychain.load(isFirstUse: false)
        #expect(try host.load("web", new) == "one")
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
        #expect(aside.compactMap(\.keyID) == [Hexadecimal.encode(new.current.id)])
    }

    @Test func aStateThatIsRefusedKeepsTheOldKey() throws {
        let old = try host.temporary.read("states/web/state")
        try host.store("three", "web", keychain.load(isFirstUse: false))
        // An older one is not lifted over its check.
        try host.temporary.write("states/web/state", old)
        try keychain.makeNext()
        let rotation = try rotation(keychain.load(isFirstUse: false))
        let report = try rotation.run()
        #expect(report.atRest == 1)
        #expect(report.refused.count == 1 && report.refused[0].why.contains("older than the last one seen"))
        #expect(try host.temporary.read("states/web/state") == old)
        #expect(try rotation.remaining() == ["\(host.path)/states/web"])
        #expect(host.refusal("web", try keychain.load(isFirstUse: false)).contains("older than the last one seen"))
    }

    @Test func whatIsDamagedStandsInTheWayOfNothingElse() throws {
        try host.temporary.write("states/a%2Fb/state", [1, 2, 3])
        try keychain.makeNext()
        let both = try keychain.load(isFirstUse: false)
        let report = try rotation(both).run()
        #expect(report.atRest == 1 && report.refused.count == 1)
        #expect(try host.header("web").keyID == both.current.id)
    }

    @Test func aLostStateInQuarantineIsNoHindrance() throws {
        let keys = try keychain.load(isFirstUse: false)
        let quarantine = Quarantine("\(host.path)/quarantine")
        unlink("\(host.path)/states/web/state")
        _ = try host.repository(keys).reset("web", to: quarantine)
        try host.temporary.write("quarantine/notes", [1])
        let report = try rotate(keychain).report
        #expect(report.undecryptable == [] && report.refused == [])
    }

    /// What may need the old key is named, and keeps nothing else in the quarantine from going over.
    @Test func whatCannotBeReadInQuarantineIsNamed() throws {
        let keys = try keychain.load(isFirstUse: false)
        let quarantine = Quarantine("\(host.path)/quarantine")
        let place = try #require(try host.repository(keys).reset("web", to: quarantine))
        _ = try host.repository(keys).reset("a/b", to: quarantine)
        _ = try openOwnDirectory("\(host.path)/quarantine/0/web")
        symlink("\(place)/state", "\(host.path)/quarantine/0/web/state")
        let report = try rotate(keychain).report
        #expect(report.refused.map(\.code) == [ELOOP] && report.undecryptable == [])
        let new = try Hexadecimal.encode(keychain.load(isFirstUse: false).current.id)
        #expect(try quarantine.list().map(\.keyID) == [nil, new, new])
    }

    /// What an operator has moved to another disk needs the old key as before.
    @Test func aLinkInQuarantineIsNamed() throws {
        let keys = try keychain.load(isFirstUse: false)
        let quarantine = Quarantine("\(host.path)/quarantine")
        _ = try host.repository(keys).reset("web", to: quarantine)
        try host.temporary.shell("mv quarantine/* elsewhere && ln -s ../elsewhere quarantine/linked")
        #expect(try rotate(keychain).report.refused.map(\.code) == [ELOOP])
    }

    @Test func aRotationEndsOnlyItself() throws {
        try keychain.makeNext()
        let both = try keychain.load(isFirstUse: false)
        _ = try rotation(both).run()
        let other = [UInt8](repeating: 0, count: MasterKey.idSize)
        #expect(throws: Failure.self) { try keychain.finishRotation(to: other) }
        #expect(try keychain.load(isFirstUse: false).all.count == 2)
        #expect(try keychain.finishRotation(to: both.current.id) == nil)
        // Another process has ended it.
        #expect(try keychain.finishRotation(to: both.current.id) == nil)
        #expect(try keychain.load(isFirstUse: false).current.id == both.current.id)
    }

    @Test func nothingOfTheKeyIsLeftUnderOtherNames() throws {
        // As one that was killed between link and unlink leaves it.
        try host.temporary.write("keys/master.key.0123456789abcdef", host.temporary.read("keys/master.key"))
        // An operator's own are none of it.
        try host.temporary.write("keys/master.key.20261126", [1])
        _ = try openOwnDirectory("\(host.path)/keys/master.key.fedcba9876543210")
        _ = try rotate(keychain)
        let left = try entries(of: host.temporary.directory("keys"), "").sorted()
        #expect(left == ["master.key", "master.key.20261126", "master.key.fedcba9876543210"])
    }

    /// Also one whose file has the new key already: what it writes with, only it knows.
    @Test func aRunningVTPMIsToldEachTime() throws {
        let temporary = try TemporaryDirectory()
        let tpm = try VTPMUnderTest(in: temporary)
        try tpm.create()
        // What is no lease is passed over; it comes before the one that is.
        try temporary.write("run/README", [1])
        let keys = KeyRing(try MasterKey(secret(2)), previous: try MasterKey(secret(1)))
        func rotate() throws -> KeyRotation.Report {
            let index = try HostIndex(in: temporary.directory("index"), path: "", keys: keys)
            let states = try temporary.directory("states")
            let repository = StateRepository(in: states, path: "\(temporary.path)/states", keys: keys, index: index)
            let quarantine = Quarantine("\(temporary.path)/quarantine")
            return try KeyRotation(repository, quarantine: quarantine, leases: "\(temporary.path)/run").run()
        }
        for _ in 0..<2 { #expect(try rotate().running == 1) }
        try tpm.run("tpm2_nvdefine -Q 0x1500001 -C o -s 7")
        #expect(try tpm.stop() == .exited(0))
        let again = try VTPMUnderTest(in: temporary, keys: [2])
        try again.create()
        #expect(try again.run("tpm2_getcap handles-nv-index").contains("0x1500001"))
        try again.stop()
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
        let store = try host.open("web", keys, living: true).store
        try keychain.makeNext()
        // Nobody answers for it: this process is no supervisor.
        let rotation = try rotation(keychain.load(isFirstUse: false))
        let error = #expect(throws: Failure.self) { try rotation.run(timeout: 300) }
        #expect(error?.description.contains("in use and its supervisor cannot be reached") == true)
        withExtendedLifetime(store) {}
        #expect(try rotation.remaining() == ["\(host.path)/states/web"])
    }
}
