import Glibc
import Platform

/// Who uses a state, as its lock file says.
public struct StateUser: Equatable, Sendable {
    /// The container's ID.
    public var containerID: String
    /// The container's init: the state is in use for as long as it lives.
    public var initProcess: ProcessID
    /// The supervisor.
    public var supervisor: pid_t

    /// Names a user.
    public init(containerID: String, initProcess: ProcessID, supervisor: pid_t) {
        self.containerID = containerID
        self.initProcess = initProcess
        self.supervisor = supervisor
    }

    var encoded: [UInt8] {
        var writer = ByteWriter()
        writer.write(UInt32(bitPattern: initProcess.process))
        writer.write(initProcess.startTime)
        writer.write(UInt32(bitPattern: supervisor))
        writer.write(text: containerID)
        return writer.bytes
    }

    init?(_ bytes: [UInt8]) {
        var reader = ByteReader(bytes)
        guard let process = reader.read(UInt32.self), let startTime = reader.read(UInt64.self),
            let supervisor = reader.read(UInt32.self), let containerID = reader.readText()
        else { return nil }
        self.containerID = containerID
        self.initProcess = ProcessID(process: pid_t(bitPattern: process), startTime: startTime)
        self.supervisor = pid_t(bitPattern: supervisor)
    }
}

/// The lock against a second user of a state, whose file names the user.
package struct StateLock: ~Copyable {
    package static let name = "lock"
    private let lock: FileLock

    /// Takes the lock.
    ///
    /// A user whose container is dead is about to let go, and is waited for until the deadline; a living one is an error
    /// that names it.
    package init(
        in directory: borrowing Descriptor,
        of stateID: String,
        until deadline: Deadline,
        checkCancellation: CancellationCheck = {}
    ) throws(Failure) {
        let what = "cannot use the state \"\(stateID)\""
        let options = OpenOptions.beneath(O_RDWR | O_CREAT, mode: 0o600)
        lock = try FileLock(
            of: .openFile(Self.name, options, at: directory.number, as: "the state's lock"),
            until: deadline,
            // Its user ends within milliseconds, and nobody else waits for it.
            backoff: Backoff(limit: 10),
            "the state",
            checkCancellation: { () throws(Failure) in
                if let user = try Self.livingUser(in: directory) { throw Self.inUse(what, user) }
                try checkCancellation()
            },
            inUse: { (_) throws(Failure) in Self.inUse(what, try Self.lastUser(in: directory)) }
        )
    }

    /// Takes the lock for an operator.
    ///
    /// A state is in use for as long as its container's init lives, also where its supervisor was killed.
    package static func forOperator(
        in directory: borrowing Descriptor,
        of stateID: String
    ) throws(Failure) -> StateLock {
        // Whoever lists states has it for a moment.
        let lock = try StateLock(in: directory, of: stateID, until: Deadline(milliseconds: 1000))
        if let user = try livingUser(in: directory) { throw inUse("cannot use the state \"\(stateID)\"", user) }
        return lock
    }

    /// Runs `body` with the lock, and releases it when `body` returns or throws.
    package consuming func run<Result: ~Copyable>(
        _ body: () throws(Failure) -> Result
    ) throws(Failure) -> Result {
        try lock.run(body)
    }

    /// Who uses the state, where somebody does; nothing is changed.
    package static func user(in directory: borrowing Descriptor) throws(Failure) -> StateUser? {
        guard let file = try open(in: directory) else { return nil }
        // Shared, and given back with the descriptor.
        if try file.tryLock(shared: true, "cannot examine the state's lock") { return nil }
        return try read(file)
            ?? StateUser(containerID: "", initProcess: .init(process: 0, startTime: 0), supervisor: 0)
    }

    /// Who used the state last, as far as anybody has come to use it.
    package static func lastUser(in directory: borrowing Descriptor) throws(Failure) -> StateUser? {
        guard let file = try open(in: directory) else { return nil }
        return try read(file)
    }

    /// The last user, if its container's init lives.
    private static func livingUser(in directory: borrowing Descriptor) throws(Failure) -> StateUser? {
        guard let user = try lastUser(in: directory), try user.initProcess.isAlive() else { return nil }
        return user
    }

    /// Writes down who has the lock, once it is certain that the state can be used.
    func name(_ user: StateUser) throws(Failure) {
        let what = "cannot write the state's lock"
        let number = lock.file.number
        try systemCall("ftruncate", what) { ftruncate(number, 0) }
        try systemCall("lseek", what) { lseek(number, 0, SEEK_SET) }
        try lock.file.writeAll(user.encoded, "the state's lock")
    }

    private static func open(in directory: borrowing Descriptor) throws(Failure) -> Descriptor? {
        do {
            return try .openFile(name, .beneath(O_RDONLY), at: directory.number, as: "the state's lock")
        } catch let error where error.code == ENOENT {
            return nil
        }
    }

    private static func read(_ file: borrowing Descriptor) throws(Failure) -> StateUser? {
        StateUser(try file.readAll(limit: 65536, "the state's lock"))
    }

    private static func inUse(_ what: String, _ holder: StateUser?) -> Failure {
        guard let holder else { return Failure(what, because: "another process uses it", code: EWOULDBLOCK) }
        return Failure(
            what,
            because: "container \"\(holder.containerID)\" uses it (init \(holder.initProcess.process), "
                + "supervisor \(holder.supervisor))",
            code: EWOULDBLOCK
        )
    }
}
