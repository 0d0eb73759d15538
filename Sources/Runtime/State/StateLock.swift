import CLinux
import Glibc
import Platform

/// The user of a state, as the state's lock file names it.
public struct StateUser: Equatable, Sendable {
    /// The container's ID.
    public var containerID: String
    /// The container's init.
    public var initProcess: ProcessID
    /// The container's cgroup; nil if its init is the first process of a PID namespace of its own.
    public var cgroup: CgroupIdentity?
    /// The supervisor's process ID.
    public var supervisor: pid_t

    /// Creates the record of a user.
    public init(containerID: String, initProcess: ProcessID, cgroup: CgroupIdentity? = nil, supervisor: pid_t) {
        self.containerID = containerID
        self.initProcess = initProcess
        self.cgroup = cgroup
        self.supervisor = supervisor
    }

    /// The user's container; the state is in use for as long as it is alive.
    public var container: ContainerIdentity { ContainerIdentity(initProcess: initProcess, cgroup: cgroup) }

    /// The record of the user; earlier versions read it up to the cgroup.
    var encoded: [UInt8] {
        var writer = ByteWriter()
        writer.write(UInt32(bitPattern: initProcess.process))
        writer.write(initProcess.startTime)
        writer.write(UInt32(bitPattern: supervisor))
        writer.write(text: containerID)
        CgroupIdentity.write(cgroup, to: &writer)
        return writer.bytes
    }

    /// Reads ``encoded``, also from earlier versions, which wrote no cgroup; returns nil if the bytes are anything else.
    init?(_ bytes: [UInt8]) {
        var reader = ByteReader(bytes)
        guard let process = reader.read(UInt32.self), let startTime = reader.read(UInt64.self),
            let supervisor = reader.read(UInt32.self), let containerID = reader.readText()
        else { return nil }
        self.containerID = containerID
        self.initProcess = ProcessID(process: pid_t(bitPattern: process), startTime: startTime)
        self.supervisor = pid_t(bitPattern: supervisor)
        guard reader.remaining == 0 || CgroupIdentity.read(&cgroup, from: &reader) else { return nil }
    }
}

/// The lock against a second user of a state; its file names the user.
package struct StateLock: ~Copyable {
    package static let name = "lock"
    private let lock: FileLock

    /// Takes the lock.
    ///
    /// A user whose container is dead is about to release the lock; it is waited for until the deadline. Throws a
    /// ``Failure`` with EWOULDBLOCK if that container is alive, or if the deadline passes. The error names
    /// the user if the lock file does.
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
    /// Throws a ``Failure`` also if the supervisor was killed but its container lives: the state is in use until the
    /// container ends.
    package static func forOperator(
        in directory: borrowing Descriptor,
        of stateID: String
    ) throws(Failure) -> StateLock {
        // A program that lists states holds the lock for a moment.
        let lock = try StateLock(in: directory, of: stateID, until: Deadline(milliseconds: 1000))
        if let user = try livingUser(in: directory) { throw inUse("cannot use the state \"\(stateID)\"", user) }
        return lock
    }

    /// Returns whether a directory still has the file that is locked.
    ///
    /// Who removes a state removes its lock before he releases it.
    func isNamed(in directory: borrowing Descriptor) throws(Failure) -> Bool {
        guard let named = try directory.status(of: Self.name, "the state's lock") else { return false }
        let own = try lock.file.status("the state's lock")
        return named.st_dev == own.st_dev && named.st_ino == own.st_ino
    }

    /// Runs `body` with the lock, and releases the lock when `body` returns or throws.
    package consuming func run<Result: ~Copyable>(
        _ body: () throws(Failure) -> Result
    ) throws(Failure) -> Result {
        try lock.run(body)
    }

    /// Returns the current user of the state, or nil if nobody holds the lock; changes nothing.
    package static func user(in directory: borrowing Descriptor) throws(Failure) -> StateUser? {
        guard let file = try open(in: directory) else { return nil }
        // The shared lock ends with the descriptor. flock(2)
        if try file.tryLock(shared: true, "cannot examine the state's lock") { return nil }
        return try read(file)
            ?? StateUser(containerID: "", initProcess: .init(process: 0, startTime: 0), supervisor: 0)
    }

    /// Returns the last user of the state, or nil if there has been none.
    package static func lastUser(in directory: borrowing Descriptor) throws(Failure) -> StateUser? {
        guard let file = try open(in: directory) else { return nil }
        return try read(file)
    }

    /// Returns the last user, or nil if its container is dead.
    private static func livingUser(in directory: borrowing Descriptor) throws(Failure) -> StateUser? {
        guard let user = try lastUser(in: directory), try user.container.isAlive() else { return nil }
        return user
    }

    /// Writes the holder into the lock file, once it is certain that the state can be used.
    func name(_ user: StateUser) throws(Failure) {
        let what = "cannot write the state's lock"
        let number = lock.file.number
        try systemCall("ftruncate", what) { ftruncate(number, 0) }
        try lock.file.writeAll(user.encoded, at: 0, "the state's lock")
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
