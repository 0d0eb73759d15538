import Glibc
import Platform
import RuntimeFormat
import Testing

@testable import RuntimeState

/// What a command of `vtpmctl run` leaves of a state that a container has as well.
extension StateStoreTests {
    /// Else the state would be no container's any more, and kept for ever.
    @Test func aCommandsUseLeavesAStateToItsContainer() throws {
        func use(by container: String, in bundle: String, keptFor: UInt64?) throws -> IndexEntry? {
            let nobody = ProcessID(process: pid_t.max, startTime: 0)
            let opened = try StateStore.open(
                "web",
                in: repository(KeyRing(master)),
                for: StateUser(containerID: container, initProcess: nobody, supervisor: getpid()),
                bundle: bundle,
                keptFor: keptFor,
                until: Deadline(milliseconds: 30_000)
            )
            try opened.store.write(StatePayload(permanent: secretCopy(of: Array("one".utf8)), isComplete: true))
            try opened.store.recordUse()
            var entry: IndexEntry?
            try repository(KeyRing(master)).index.transact { (records) throws(Failure) in
                entry = try records.entry("web")
            }
            return entry
        }
        // Its first user is its own.
        let new = try use(by: "run-7", in: IndexEntry.commandBundle, keptFor: nil)
        #expect(new?.bundle == "/" && new?.containerID == "run-7")
        let before = try #require(try use(by: "web", in: "/run/bundle", keptFor: 60))
        let after = try #require(try use(by: "run-8", in: IndexEntry.commandBundle, keptFor: nil))
        #expect(after.bundle == "/run/bundle" && after.containerID == "web" && after.keptFor == 60)
        #expect(after.generation > before.generation)
    }
}
