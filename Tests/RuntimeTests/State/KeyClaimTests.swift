import Glibc
import Platform
import TestSupport
import Testing
import VTPMProxy

@testable import RuntimeState

/// Which instance an endorsement key is, by the host's index.
@Suite struct KeyClaimTests {
    private let temporary: TemporaryDirectory
    private let ring: KeyRing

    init() throws {
        temporary = try TemporaryDirectory()
        ring = KeyRing(try MasterKey(secret(1)))
    }

    private func open(_ stateID: String) throws -> StateStore {
        let index = try HostIndex(in: temporary.directory("index"), path: "", keys: ring)
        let repository = StateRepository(in: try temporary.directory("states"), path: "", keys: ring, index: index)
        let user = StateUser(
            containerID: stateID,
            initProcess: try ProcessID(of: getpid()),
            cgroup: nil,
            supervisor: getpid()
        )
        let opened = try StateStore.open(stateID, in: repository, for: user, until: Deadline(milliseconds: 1000))
        if !opened.payload.isComplete {
            try opened.store.write(StatePayload(permanent: secretCopy(of: [1]), isComplete: true))
            try opened.store.recordUse()
        }
        return opened.store
    }

    /// A mark: a kind, and a digest of one byte.
    private func mark(_ kind: UInt8, _ key: UInt8) -> [UInt8] { [kind] + [UInt8](repeating: key, count: 32) }

    private func recorded(_ store: StateStore) throws -> [[UInt8]] {
        try store.index.entry(StateDirectoryName.encoded(store.header.stateID))?.endorsementKeys ?? []
    }

    @Test func anInstanceHasOneKeyOfEachKindForEver() throws {
        let web = try open("web")
        #expect(try web.claim([mark(0, 1)], ofNew: false) == .own)
        #expect(try web.claim([mark(0, 2)], ofNew: false) == .changed)
        #expect(try web.claim([mark(1, 3)], ofNew: false) == .own)
        #expect(try web.claim([mark(0, 1), mark(1, 4)], ofNew: false) == .changed)
        #expect(try web.claim([mark(1, 3), mark(0, 1)], ofNew: false) == .own)
        // What the record has beside it takes nothing's place.
        var head = ByteWriter()
        EndorsementHead(level: .none, keys: [mark(0, 2)]).encode(into: &head)
        web.endorsement = head.bytes
        try web.recordUse()
        #expect(try recorded(web) == [mark(0, 1), mark(1, 3)])
    }

    @Test func aKeyIsOneInstances() throws {
        let web = try open("web"), copy = try open("copy")
        #expect(try web.claim([mark(0, 1), mark(1, 2)], ofNew: false) == .own)
        #expect(try copy.claim([mark(0, 1), mark(1, 2)], ofNew: false) == .taken)
        #expect(try recorded(copy) == [] && recorded(web).count == 2)
        #expect(try copy.claim([mark(1, 2)], ofNew: false) == .taken)
        #expect(try copy.claim([mark(0, 3)], ofNew: false) == .own)
        #expect(try web.claim([mark(0, 1), mark(1, 2)], ofNew: false) == .own)
    }

    /// One that was killed between its entry and its look keeps nobody from its key.
    @Test func aClaimThatWasCutShortIsWithdrawn() throws {
        let web = try open("web"), copy = try open("copy")
        for store in [web, copy] {
            let name = try StateDirectoryName.encoded(store.header.stateID)
            try store.index.transact { (records) throws(Failure) in
                try records.update(name) { $0.endorsementKeys = [mark(0, 1)] }
            }
        }
        #expect(try copy.claim([mark(0, 1)], ofNew: false) == .taken)
        #expect(try recorded(copy) == [])
        #expect(try web.claim([mark(0, 1)], ofNew: false) == .own)
    }

    /// The index gets them again from the state's own record.
    @Test func theRecordSaysWhoseTheKeysAre() throws {
        let web = try open("web")
        var head = ByteWriter()
        EndorsementHead(level: .certificates, keys: [mark(0, 1), mark(1, 2)]).encode(into: &head)
        web.endorsement = head.bytes
        try web.recordUse()
        #expect(try recorded(web) == [mark(0, 1), mark(1, 2)])
        #expect(try open("copy").claim([mark(1, 2)], ofNew: false) == .taken)
    }
}
