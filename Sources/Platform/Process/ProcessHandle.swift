import CLinux
import Glibc

/// A process, held by a pidfd. pidfd_open(2)
///
/// The kernel can give a process ID to another process; a pidfd always refers to the same one.
public struct ProcessHandle: ~Copyable, Sendable {
    /// Its process ID at the time of opening.
    public let process: pid_t
    /// The pidfd, readable once the process has ended.
    public let descriptor: Descriptor

    /// Opens a pidfd for the process that has this ID now.
    public init(_ process: pid_t) throws(Failure) {
        self.process = process
        self.descriptor = Descriptor(
            owning: try systemCall("pidfd_open", "cannot find process \(process)") { pidfd_open(process, 0) }
        )
    }

    /// Takes ownership of a pidfd that another process has sent.
    public init(owning descriptor: consuming Descriptor, process: pid_t) {
        self.process = process
        self.descriptor = descriptor
    }

    /// Returns whether the process is running; one that has ended is not, even if it is not reaped yet.
    public borrowing func isAlive() throws(Failure) -> Bool {
        try Platform.wait(for: descriptor.number, until: Deadline(milliseconds: 0)) == 0
    }

    /// Kills the process; does nothing if it is gone.
    public borrowing func kill() {
        _ = pidfd_send_signal(descriptor.number, SIGKILL, nil, 0)
    }

    /// Waits until the process has ended, kills it after this many milliseconds, and then waits for 1 s at most.
    public borrowing func awaitEnd(milliseconds: Int) throws(Failure) {
        if try wait(for: descriptor.number, until: Deadline(milliseconds: milliseconds)) != 0 { return }
        kill()
        _ = try wait(for: descriptor.number, until: Deadline(milliseconds: 1000))
    }
}

/// The identity of a process for a file: its ID and its start time, since the kernel uses IDs again.
public struct ProcessID: Equatable, Sendable {
    /// Its process ID.
    public let process: pid_t
    /// When it started, in clock ticks since boot (``Procfs/startTime(of:)``).
    public let startTime: UInt64

    /// Creates the identity that a file has recorded.
    public init(process: pid_t, startTime: UInt64) {
        self.process = process
        self.startTime = startTime
    }

    /// Creates the identity of the process that has this ID now.
    public init(of process: pid_t) throws(Failure) {
        self.init(process: process, startTime: try Procfs().startTime(of: process))
    }

    /// Returns the process if it is still running, or nil if it is gone.
    public func reference() throws(Failure) -> ProcessHandle? {
        do {
            let reference = try ProcessHandle(process)
            // Once the pidfd is open, /proc/PID is about the same process for as long as that is alive.
            guard try ProcessID(of: process) == self, try reference.isAlive() else { return nil }
            return reference
        } catch let error where error.code == ESRCH || error.code == ENOENT || error.code == EINVAL {
            return nil
        }
    }

    /// Returns whether the process is still running.
    public func isAlive() throws(Failure) -> Bool {
        switch try reference() {
        case .none: false
        case .some: true
        }
    }
}
