import CLinux
import Glibc

/// A process, by a pidfd: the number can be given to another process, the descriptor cannot. pidfd_open(2)
public struct ProcessHandle: ~Copyable, Sendable {
    /// Its process ID at the time of opening.
    public let process: pid_t
    /// The pidfd, readable once the process has ended.
    public let descriptor: Descriptor

    /// Refers to a process that is alive.
    public init(_ process: pid_t) throws(Failure) {
        self.process = process
        self.descriptor = Descriptor(
            owning: try systemCall("pidfd_open", "cannot find process \(process)") { pidfd_open(process, 0) }
        )
    }

    /// Takes a pidfd that another process handed over.
    public init(owning descriptor: consuming Descriptor, process: pid_t) {
        self.process = process
        self.descriptor = descriptor
    }

    /// Whether it is running; one that ended and is not yet reaped is not.
    public borrowing func isAlive() throws(Failure) -> Bool {
        try Platform.wait(for: descriptor.number, until: Deadline(milliseconds: 0)) == 0
    }

    /// Kills it; one that is gone is no failure.
    public borrowing func kill() {
        _ = pidfd_send_signal(descriptor.number, SIGKILL, nil, 0)
    }
}

/// A process as a file on disk can name it: its ID, and when it started, since IDs are used again.
public struct ProcessID: Equatable, Sendable {
    /// Its process ID.
    public let process: pid_t
    /// When it started, in clock ticks since boot (``Procfs/startTime(of:)``).
    public let startTime: UInt64

    /// Names a process by what a file says.
    public init(process: pid_t, startTime: UInt64) {
        self.process = process
        self.startTime = startTime
    }

    /// Names the process that has this ID now.
    public init(of process: pid_t) throws(Failure) {
        self.init(process: process, startTime: try Procfs().startTime(of: process))
    }

    /// Refers to the process if it is the same one and still running; nil if it is gone.
    public func reference() throws(Failure) -> ProcessHandle? {
        do {
            let reference = try ProcessHandle(process)
            // Once the pidfd is open, /proc/PID speaks of the same process for as long as it is alive.
            guard try ProcessID(of: process) == self, try reference.isAlive() else { return nil }
            return reference
        } catch let error where error.code == ESRCH || error.code == ENOENT || error.code == EINVAL {
            return nil
        }
    }

    /// Whether the same process is still running.
    public func isAlive() throws(Failure) -> Bool {
        switch try reference() {
        case .none: false
        case .some: true
        }
    }
}
