import Glibc
import Platform

/// Who uses a state, as its lock file says.
public struct StateUser: Equatable, Sendable {
    /// The container's ID.
    public var containerID: String
    /// The container's init: the state is in use for as long as it lives.
    public var initProcess: ProcessIdentity
    /// The supervisor.
    public var supervisor: pid_t

    /// Names a user.
    public init(containerID: String, initProcess: ProcessIdentity, supervisor: pid_t) {
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
        self.initProcess = ProcessIdentity(process: pid_t(bitPattern: process), startTime: startTime)
        self.supervisor = pid_t(bitPattern: supervisor)
    }
}

/// The lock against a second user of a state, held until its owner's process is gone. flock(2)
///
/// Not fcntl(2)'s: that one is lost as soon as the process closes any descriptor of the file.
package struct StateLock: ~Copyable {
    package static let name = "lock"
    private let file: Descriptor

    /// Takes the lock.
    ///
    /// A user whose container is dead is about to let go, and is waited for until the deadline; a living one is an error
    /// that names it.
    package init(
        in directory: borrowing Descriptor,
        of stateID: String,
        until deadline: Deadline,
        checking goesOn: () throws(Failure) -> Void = { () throws(Failure) in }
    ) throws(Failure) {
        let what = "cannot use the state \"\(stateID)\""
        let options = OpenOptions.beneath(O_RDWR | O_CREAT, mode: 0o600)
        let file = try Descriptor.openFile(Self.name, options, at: directory.number, as: "the state's lock")
        let number = file.number
        while true {
            do {
                try systemCall("flock", what) { flock(number, LOCK_EX | LOCK_NB) }
                break
            } catch let error where error.code == EWOULDBLOCK {
                let holder = StateUser(try Self.content(of: file))
                if deadline.hasPassed { throw Self.inUse(what, holder) }
                if let holder, try holder.initProcess.isAlive() { throw Self.inUse(what, holder) }
                try goesOn()
                poll(nil, 0, 10)
            }
        }
        self.file = file
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
        if let last = StateUser(try content(of: lock.file)), try last.initProcess.isAlive() {
            throw inUse("cannot use the state \"\(stateID)\"", last)
        }
        return lock
    }

    /// Who uses the state, where somebody does; nothing is changed.
    package static func user(in directory: borrowing Descriptor) throws(Failure) -> StateUser? {
        let file: Descriptor
        do {
            file = try .openFile(name, .beneath(O_RDONLY), at: directory.number, as: "the state's lock")
        } catch let error where error.code == ENOENT {
            return nil
        }
        let number = file.number
        do {
            // Shared, and given back with the descriptor.
            try systemCall("flock", "cannot examine the state's lock") { flock(number, LOCK_SH | LOCK_NB) }
            return nil
        } catch let error where error.code == EWOULDBLOCK {
            return StateUser(try content(of: file))
                ?? StateUser(containerID: "", initProcess: .init(process: 0, startTime: 0), supervisor: 0)
        }
    }

    /// Who used the state last, as far as anybody has come to use it.
    package static func lastUser(in directory: borrowing Descriptor) throws(Failure) -> StateUser? {
        do {
            let options = OpenOptions.beneath(O_RDONLY)
            return StateUser(
                try content(of: .open(name, options, at: directory.number, as: "the state's lock"))
            )
        } catch let error where error.code == ENOENT {
            return nil
        }
    }

    /// Writes down who has the lock, once it is certain that the state can be used.
    func name(_ user: StateUser) throws(Failure) {
        let what = "cannot write the state's lock"
        let number = file.number
        try systemCall("ftruncate", what) { ftruncate(number, 0) }
        try systemCall("lseek", what) { lseek(number, 0, SEEK_SET) }
        try file.writeAll(user.encoded, "the state's lock")
    }

    private static func content(of file: borrowing Descriptor) throws(Failure) -> [UInt8] {
        let number = file.number
        try systemCall("lseek", "cannot read the state's lock") { lseek(number, 0, SEEK_SET) }
        return try file.readAll(limit: 65536, "the state's lock")
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
