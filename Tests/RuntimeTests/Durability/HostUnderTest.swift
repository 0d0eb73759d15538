import Glibc
import Platform

@testable import RuntimeState

/// A fixture: the counter of a host's TPM, in memory, whose values are recorded with what was done to the disk.
final class RecordingCounter: MonotonicCounter {
    /// What survives a power failure.
    struct Value: Equatable {
        var value: UInt64?
        var identity: [UInt8] = []
    }

    private let counter = MemoryCounter()
    private let record: (Value) -> Void

    init(_ value: Value, record: @escaping (Value) -> Void = { _ in }) {
        counter.value = value.value
        counter.identity = value.identity
        self.record = record
        record(value)
    }

    /// What a power failure would leave.
    var current: Value { Value(value: counter.value, identity: counter.identity) }

    private func tell() { record(current) }

    func exists() throws(Failure) -> Bool { try counter.exists() }

    func define() throws(Failure) -> [UInt8] {
        defer { tell() }
        return try counter.define()
    }

    func remove() throws(Failure) {
        defer { tell() }
        try counter.remove()
    }

    func read(_ identity: [UInt8]) throws(Failure) -> UInt64 { try counter.read(identity) }

    func increment(_ identity: [UInt8]) throws(Failure) -> UInt64 {
        defer { tell() }
        return try counter.increment(identity)
    }
}

/// A host with states below a directory: what a supervisor does on it, and what it promises by that.
final class HostUnderTest {
    /// The directory that all is in.
    let root: String
    /// The bytes of the master keys, the current one first.
    var keys: [UInt8] = [1]
    private(set) var disk: any Disk
    private(set) var counter: RecordingCounter?
    private let recorder: RecordingDisk?
    private var failing: FailingDisk?
    /// How each state was found or written last.
    private var last: [String: (outcome: Outcome, generation: UInt64)] = [:]

    /// A host whose disk is recorded.
    init(root: String, recording recorder: RecordingDisk) {
        self.root = root
        self.recorder = recorder
        self.disk = recorder
    }

    /// A host after a crash.
    init(root: String, counter: RecordingCounter.Value) {
        self.root = root
        self.recorder = nil
        self.disk = LocalDisk()
        if counter.value != nil { self.counter = RecordingCounter(counter) }
    }

    /// From now on its disk fails like this; with nothing, it does not.
    func setFault(_ fault: FailingDisk.Fault?) -> FailingDisk {
        let new = FailingDisk(recorder ?? LocalDisk(), fault)
        failing = new
        disk = new
        return new
    }

    /// From now on its index is to be bound to a counter.
    func addCounter() {
        counter = RecordingCounter(.init()) { [recorder] in recorder?.promise(.counter($0)) }
    }

    func promise(_ promise: Promise) { recorder?.promise(promise) }

    /// The keys that its programs are given.
    func keyRing() throws(Failure) -> KeyRing {
        let current = try Self.master(keys[0])
        return KeyRing(current, previous: keys.count > 1 ? try Self.master(keys[1]) : nil)
    }

    static func master(_ byte: UInt8) throws(Failure) -> MasterKey {
        let key = try SecretBytes(capacity: MasterKey.size)
        _ = key.append(copying: [UInt8](repeating: byte, count: MasterKey.size))
        return try MasterKey(key)
    }

    func index() throws(Failure) -> HostIndex {
        try HostIndex(
            in: openOwnDirectory("\(root)/index"),
            path: "\(root)/index",
            keys: keyRing(),
            counter: counter,
            disk: disk
        )
    }

    func repository() throws(Failure) -> StateRepository {
        StateRepository(
            in: try openOwnDirectory("\(root)/states"),
            path: "\(root)/states",
            keys: try keyRing(),
            index: try index(),
            disk: disk
        )
    }

    /// Opens a state; how it is found is how it is found from now on, since somebody has seen it.
    func open(_ state: String) throws(Failure) -> StateStore { try find(state).store }

    /// The same, with how it was found.
    func find(_ state: String) throws(Failure) -> (store: StateStore, outcome: Outcome) {
        let until = Deadline(milliseconds: 60_000)
        let (store, payload) = try StateStore.open(
            state,
            in: repository(),
            for: user(of: state),
            bundle: "/b",
            until: until
        )
        let outcome = Self.outcome(payload)
        settle(state, outcome, store.generation)
        return (store, outcome)
    }

    /// Who uses a state: a dead one, whose lock is waited for.
    ///
    /// Programs that other tests start hold a copy of it until their execve(2).
    func user(of state: String) -> StateUser {
        let nobody = ProcessID(process: pid_t.max, startTime: 0)
        return StateUser(containerID: state, initProcess: nobody, supervisor: getpid())
    }

    /// Which TPM instance a state is of.
    func uuid(of state: String) throws(Failure) -> [UInt8] {
        let path = "\(root)/states/\(try StateDirectoryName.encoded(state))/state"
        return try StateFile(parsing: Descriptor.open(path, .read).readAll(limit: 1 << 20, path), path: path).uuid
    }

    /// Writes a state.
    func write(_ content: String, to store: StateStore, of state: String) throws(Failure) {
        let permanent = try SecretBytes(capacity: max(content.utf8.count, 1))
        _ = permanent.append(copying: Array(content.utf8))
        let written = Outcome.content(Self.text(content, recorded: store.endorsement))
        promise(.begins(state: state, written))
        do {
            try store.write(StatePayload(permanent: permanent, isComplete: true))
        } catch {
            // Where not even the name was changed, or not all of the slot, nobody must ever find the new one.
            if let call = failing?.firstFailure, ![FailingDisk.directorySync, FailingDisk.dataSync].contains(call),
                let last = last[state]
            {
                settle(state, last.outcome, last.generation)
            }
            throw error
        }
        settle(state, written, store.generation)
    }

    /// Has a running state go over to another key.
    func rekey(_ store: StateStore, of state: String, to key: UInt8) throws(Failure) {
        try store.rekey(to: Self.master(key))
        if let last = last[state] { settle(state, last.outcome, store.generation) }
    }

    /// Has the index remember how far a state has come.
    func recordUse(of store: StateStore, of state: String) throws(Failure) {
        try store.recordUse()
        promise(.remembers(state: state, generation: store.generation))
    }

    /// What a container does that starts, changes its TPM and stops.
    func runContainer(_ state: String, writing contents: [String]) throws(Failure) {
        let store = try open(state)
        if !contents.isEmpty, last[state]?.outcome == .fresh {
            try write(contents[0], to: store, of: state)
            try recordUse(of: store, of: state)
            for content in contents.dropFirst() { try write(content, to: store, of: state) }
        } else {
            try recordUse(of: store, of: state)
            for content in contents { try write(content, to: store, of: state) }
        }
        try recordUse(of: store, of: state)
    }

    static func outcome(_ payload: StatePayload) -> Outcome {
        guard payload.isComplete else { return .fresh }
        let content = payload.permanent.withBytes { String(decoding: $0, as: UTF8.self) }
        return .content(text(content, recorded: payload.endorsement))
    }

    /// What a state holds, with the host's record of the TPM's identity.
    static func text(_ content: String, recorded record: [UInt8]) -> String {
        record.isEmpty ? content : "\(content), recorded as \(String(decoding: record, as: UTF8.self))"
    }

    private func settle(_ state: String, _ outcome: Outcome, _ generation: UInt64) {
        last[state] = (outcome, generation)
        promise(.holds(state: state, outcome, generation: generation))
    }
}
