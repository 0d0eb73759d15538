import Glibc
import Platform
import RuntimeControl
import RuntimeLease
import RuntimeState

/// Takes everything from the previous master key to the current one, with containers running.
///
/// It can be interrupted anywhere: what has the current key is not touched again, and both keys are known until nothing
/// needs the previous one.
public struct KeyRotation {
    private let repository: StateRepository
    private let quarantine: Quarantine
    private let leases: String

    /// How long to wait for states that are being started or stopped, in milliseconds.
    public static let timeout = 60_000
    /// How long a supervisor may take to write its state again, in milliseconds.
    private static let answerTimeout = 30_000

    /// A rotation of all that this host has.
    ///
    /// The repository's ring has both keys; `leases` is the directory with a lease for each running vTPM.
    public init(_ repository: StateRepository, quarantine: Quarantine, leases: String) {
        self.repository = repository
        self.quarantine = quarantine
        self.leases = leases
    }

    /// What was done.
    public struct Report: Equatable, Sendable {
        /// States that nobody used.
        public var atRest = 0
        /// States of running vTPMs.
        public var running = 0
        /// What lies among the states and is none.
        public var strangers: [Failure] = []
        /// States that could not be written under the current key; with one of them, the old key must stay.
        public var refused: [Failure] = []
        /// What was put aside and can be decrypted with neither key.
        public var undecryptable: [String] = []
    }

    /// Which key everything goes to.
    public var keyID: [UInt8] { repository.keys.current.id }

    /// Writes all states, those in quarantine too, and the index under the current key.
    ///
    /// What cannot be written is in the report. Throws when a state stays in use for so many milliseconds and nobody
    /// answers for it; all that was done stays done.
    public func run(timeout: Int = KeyRotation.timeout) throws(Failure) -> Report {
        var report = Report()
        let deadline = Deadline(milliseconds: timeout)
        var busy = try repository.names()
        let isDone = try deadline.wait(backoff: Backoff(first: 100, limit: 100)) { () throws(Failure) in
            busy = reencrypt(busy, &report)
            return busy.isEmpty
        }
        guard isDone else {
            throw Failure(
                "cannot change the key of the state \(repository.path(of: busy[0]))",
                because: "it is in use and its supervisor cannot be reached",
                hint: "stop its container, and run vtpmctl key rotate again"
            )
        }
        report.undecryptable = try quarantine.reencrypt(repository.keys, repository.disk) { report.refused.append($0) }
        if try repository.index.keyID() != nil { try repository.index.reencrypt() }
        return report
    }

    /// The states that still need another key than the current one.
    public func remaining() throws(Failure) -> [String] {
        var found: [String] = []
        for name in try repository.names() {
            guard let directory = try repository.openState(name) else { continue }
            let path = repository.filePath(name)
            let header = try? StateFile(parsing: repository.read(in: directory, name), path: path)
            if header?.keyID != repository.keys.current.id { found.append(repository.path(of: name)) }
        }
        return found
    }

    private enum Place {
        case atRest
        case running
    }

    private enum Outcome {
        case done(Place)
        case nothingToDo
        case busy
    }

    /// Writes states under the current key; returns those that are being started or stopped.
    private func reencrypt(_ names: [String], _ report: inout Report) -> [String] {
        var busy: [String] = []
        for name in names {
            do throws(Failure) {
                switch try reencrypt(name) {
                case .done(.atRest): report.atRest += 1
                case .done(.running): report.running += 1
                case .nothingToDo: break
                case .busy: busy.append(name)
                }
            } catch let error where error.code == ENOTDIR {
                report.strangers.append(error)
            } catch {
                report.refused.append(error)
            }
        }
        return busy
    }

    private func reencrypt(_ name: String) throws(Failure) -> Outcome {
        guard let directory = try repository.open(name) else { return .nothingToDo }
        guard try repository.openState(name) != nil else { throw repository.stranger(name, "there is no state in it") }
        // A supervisor is told in any case: the file may have the new key, and it may still write with the old one.
        if let user = try StateLock.user(in: directory) {
            return try tell(user) ? .done(.running) : .busy
        }
        let path = repository.filePath(name)
        let stateID = try StateFile(parsing: repository.read(in: directory, name), path: path).stateID
        do {
            let lock = try StateLock(in: directory, of: stateID, until: Deadline(milliseconds: 0))
            return try reencrypt(name, stateID, in: directory, lock)
        } catch let error where error.code == EWOULDBLOCK {
            return .busy
        }
    }

    /// The same for a state that nobody uses.
    private func reencrypt(
        _ name: String,
        _ stateID: String,
        in directory: borrowing Descriptor,
        _ lock: borrowing StateLock
    ) throws(Failure) -> Outcome {
        let path = repository.filePath(name)
        let current = repository.keys.current
        let (header, payload) = try repository.load(name, stateID, in: directory)
        guard header.keyID != current.id else {
            // Written by a rotation that was killed, perhaps before it was synced; the old key will be gone.
            try repository.synchronize(directory, path: path)
            return .nothingToDo
        }
        // What is written here is one generation younger: an older state must not be lifted over its check by that.
        try repository.index.transact { (records) throws(Failure) in
            try repository.check(header, against: records.entry(name), path: path)
        }
        let next = try header.next(keyID: current.id)
        let key = try current.instanceKey(uuid: next.uuid, stateID: next.stateID)
        try StateStore.write(next, payload, key: key, in: directory, repository.disk, path: path)
        return .done(.atRest)
    }

    /// Has the supervisor that uses a state write it again; false if it cannot be reached yet, or any more.
    private func tell(_ user: StateUser) throws(Failure) -> Bool {
        guard let run = try? Descriptor.open(leases, .directory) else { return false }
        for name in try Leases.names(in: run) {
            // What is no lease, or nobody's, has no such supervisor.
            guard let lease = try? OpenLease.open(name, in: run),
                let channel = try? ControlSocket.connect(in: lease.directory),
                (try? ControlSocket.supervisor(at: channel)) == user.supervisor
            else { continue }
            return try ask(channel, user)
        }
        return false
    }

    private func ask(_ channel: Channel, _ user: StateUser) throws(Failure) -> Bool {
        let what = "cannot change the key of the vTPM of container \"\(user.containerID)\""
        try channel.send(ControlRequest.rekey, repository.keys.current.key)
        let buffer = Channel.makeBuffer()
        guard try wait(for: channel.descriptor.number, until: Deadline(milliseconds: Self.answerTimeout)) != 0 else {
            throw Failure(what, because: "its supervisor does not answer")
        }
        // It may be stopping: then its state is at rest soon.
        guard let message = try channel.receive(into: buffer) else { return false }
        switch ControlReply(message) {
        case .rekeyed: return true
        case .failure(let failure): throw Failure(what, because: failure.description)
        default: throw Failure(what, because: "its supervisor's answer makes no sense")
        }
    }
}
