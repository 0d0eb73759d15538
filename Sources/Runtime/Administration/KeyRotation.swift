import Glibc
import Platform
import RuntimeControl
import RuntimeLease
import RuntimeState

/// The change of all states and the index from the previous master key to the current one, while containers run.
///
/// It can be interrupted at any point. A file that has the current key is not rewritten, and both keys are kept until
/// nothing needs the previous one.
public struct KeyRotation {
    private let repository: StateRepository
    private let quarantine: Quarantine
    private let leases: String

    /// How long to wait for states that are being started or stopped, in milliseconds.
    public static let timeout = 60_000
    /// How long a supervisor may take to rewrite its state, in milliseconds.
    private static let answerTimeout = 30_000

    /// Creates a rotation of all states of this host and of its index.
    ///
    /// The repository's key ring has both keys. `leases` is the directory with a lease for each running vTPM.
    public init(_ repository: StateRepository, quarantine: Quarantine, leases: String) {
        self.repository = repository
        self.quarantine = quarantine
        self.leases = leases
    }

    /// The result of a rotation.
    public struct Report: Equatable, Sendable {
        /// The number of states that were rewritten and that nobody used.
        public var atRest = 0
        /// The number of states of running vTPMs that were rewritten.
        public var running = 0
        /// An error for each entry of the states directory that is no state.
        public var strangers: [Failure] = []
        /// The errors of states that could not be written under the current key.
        ///
        /// The old key must be kept if there are any.
        public var refused: [Failure] = []
        /// The paths of quarantined states that are damaged, or that neither key can decrypt.
        public var undecryptable: [String] = []
    }

    /// The ID of the key that everything is written under.
    public var keyID: [UInt8] { repository.keys.current.id }

    /// Writes all states, including the quarantined ones, and the index under the current key.
    ///
    /// The report has the states that could not be written. Throws a ``Failure`` if a state stays in use for `timeout`
    /// milliseconds and its supervisor cannot be reached; all that was rewritten until then stays so. `progress` is
    /// called for each state that is done, with the number of all.
    public func run(
        timeout: Int = KeyRotation.timeout,
        progress: (_ total: Int) -> Void = { _ in }
    ) throws(Failure) -> Report {
        var report = Report()
        let deadline = Deadline(milliseconds: timeout)
        var busy = try repository.names()
        let total = busy.count
        // Any of many states may become free, and the supervisors tell nobody of their end.
        let isDone = try deadline.wait(backoff: Backoff(first: 100, limit: 100)) { () throws(Failure) in
            busy = reencrypt(busy, &report) { progress(total) }
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

    /// Returns the paths of the states that still need another key than the current one, or that cannot be read.
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

    /// Writes states under the current key; returns the names of those whose users do not answer yet.
    private func reencrypt(_ names: [String], _ report: inout Report, _ progress: () -> Void) -> [String] {
        var busy: [String] = []
        for name in names {
            defer { if busy.last != name { progress() } }
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
        // Even if the file has the new key, the supervisor may still write with the old one, so it always gets the
        // request.
        if let user = try StateLock.user(in: directory) {
            return try tell(user) ? .done(.running) : .busy
        }
        if try repository.isOnlyBegun(name) { return .nothingToDo }
        guard try repository.openState(name) != nil else { throw repository.stranger(name, "there is no state in it") }
        let path = repository.filePath(name)
        let stateID = try StateFile(parsing: repository.read(in: directory, name), path: path).stateID
        do {
            let lock = try StateLock(in: directory, of: stateID, until: Deadline(milliseconds: 0))
            return try reencrypt(name, stateID, in: directory, lock)
        } catch let error where error.code == EWOULDBLOCK {
            return .busy
        }
    }

    /// Writes a state that nobody uses under the current key.
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
            // A killed rotation may not have synced it, and the old key will soon be gone.
            try repository.synchronize(directory, path: path)
            return .nothingToDo
        }
        // The rewritten file has the next generation; that must not make an older state pass the index's check.
        try repository.index.transact { (records) throws(Failure) in
            try repository.check(header, against: records.entry(name), path: path)
        }
        let next = try header.next(keyID: current.id)
        let keys = try current.instanceKeys(uuid: next.uuid, stateID: next.stateID)
        try repository.write(next, payload, keys, in: directory, path: path)
        return .done(.atRest)
    }

    /// Lets the supervisor that uses a state rewrite it; returns false if it cannot be reached yet, or no longer.
    private func tell(_ user: StateUser) throws(Failure) -> Bool {
        guard let run = try? Descriptor.open(leases, .directory) else { return false }
        for name in try Leases.names(in: run) {
            // A directory that is no lease, or a lease without a supervisor, cannot have this one.
            guard let lease = try? OpenLease.open(name, in: run),
                let channel = try? ControlSocket.connect(in: lease.directory),
                (try? ControlSocket.peer(of: channel)) == user.supervisor
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
        // The supervisor may be stopping; its state is then at rest soon.
        guard let message = try channel.receive(into: buffer) else { return false }
        switch ControlReply(message) {
        case .rekeyed: return true
        case .failure(let failure): throw Failure(what, because: failure.description)
        default: throw Failure(what, because: "its supervisor's answer makes no sense")
        }
    }
}
