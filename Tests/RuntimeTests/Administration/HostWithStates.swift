import Glibc
import Platform
import Testing

@testable import RuntimeState

/// A host's directories with states in them, made by the store itself.
final class HostWithStates {
    let temporary: TemporaryDirectory
    let disk: any Disk

    init(_ disk: any Disk = LocalDisk()) throws {
        temporary = try TemporaryDirectory()
        self.disk = disk
    }

    var path: String { temporary.path }

    func repository(_ keys: KeyRing, counter: (any MonotonicCounter)? = nil) throws(Failure) -> StateRepository {
        let index = try HostIndex(
            in: openOwnDirectory("\(path)/index"),
            path: "\(path)/index",
            keys: keys,
            counter: counter,
            disk: disk
        )
        let states = try openOwnDirectory("\(path)/states")
        return StateRepository(in: states, path: "\(path)/states", keys: keys, index: index, disk: disk)
    }

    /// Opens a state for a container that lives, or for one that has ended.
    func open(
        _ stateID: String,
        _ keys: KeyRing,
        living: Bool = false
    ) throws -> (store: StateStore, payload: StatePayload) {
        // This process started at no such time.
        let dead = ProcessID(process: getpid(), startTime: 1)
        let initProcess = living ? try ProcessID(of: getpid()) : dead
        return try StateStore.open(
            stateID,
            in: repository(keys),
            for: StateUser(containerID: stateID, initProcess: initProcess, supervisor: getpid()),
            bundle: path,
            until: Deadline(milliseconds: 30_000)
        )
    }

    /// Stores a state as a vTPM does that starts and stops.
    func store(_ text: String, _ stateID: String, _ keys: KeyRing) throws {
        let store = try open(stateID, keys).store
        try store.write(StatePayload(permanent: secretCopy(of: Array(text.utf8)), isComplete: true))
        try store.recordUse()
    }

    func load(_ stateID: String, _ keys: KeyRing) throws -> String {
        let payload = try open(stateID, keys).payload
        return payload.isComplete ? payload.permanent.withBytes { String(decoding: $0, as: UTF8.self) } : "(nothing)"
    }

    /// Why a state cannot be started.
    func refusal(_ stateID: String, _ keys: KeyRing) -> String {
        do {
            _ = try open(stateID, keys)
            Issue.record("the state \(stateID) was accepted")
            return ""
        } catch {
            return "\(error)"
        }
    }

    func header(_ stateID: String) throws -> StateFile {
        let name = try StateDirectoryName.encoded(stateID)
        return try StateFile(parsing: temporary.read("states/\(name)/state"), path: "")
    }
}
