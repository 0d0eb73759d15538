import Glibc

extension Descriptor {
    /// Takes the lock of the open file; returns false if another open file has it.
    ///
    /// The lock is exclusive, or shared with other shared ones. It ends with the last descriptor of this open file.
    /// flock(2)
    public borrowing func tryLock(shared: Bool = false, _ what: @autoclosure () -> String) throws(Failure) -> Bool {
        try Self.tryLock(number, shared: shared, what())
    }

    fileprivate static func tryLock(
        _ number: CInt,
        shared: Bool,
        _ what: @autoclosure () -> String
    ) throws(Failure) -> Bool {
        do {
            try systemCall("flock", what()) { flock(number, (shared ? LOCK_SH : LOCK_EX) | LOCK_NB) }
            return true
        } catch let error where error.code == EWOULDBLOCK {
            return false
        }
    }
}

/// A lock on a file or a directory, held until its owner is gone. flock(2)
///
/// A lock of fcntl(2) would not do: it is lost as soon as the process closes any descriptor of the file.
public struct FileLock: ~Copyable {
    /// The file or directory that is locked.
    public let file: Descriptor

    /// Takes the lock of an open file or directory, for which it waits in the kernel until the deadline.
    ///
    /// The lock is exclusive, or shared with other shared ones. `object` is for errors. `checkCancellation` is called five
    /// times a second meanwhile. The end of such a wait takes a signal, which the filter of a confined process refuses:
    /// without signals it looks again and again.
    ///
    /// - Throws: The error that `inUse` returns, if another process still has the lock at the deadline.
    public init(
        of file: consuming Descriptor,
        shared: Bool = false,
        until deadline: Deadline,
        mayUseSignals: Bool = true,
        _ object: String,
        checkCancellation: CancellationCheck = {},
        inUse: (_ error: Failure) throws(Failure) -> Failure = { $0 }
    ) throws(Failure) {
        let what = "cannot lock \(object)"
        let file = file
        let number = file.number
        func attempt() throws(Failure) -> Bool { try Descriptor.tryLock(number, shared: shared, what) }
        let isLocked =
            mayUseSignals
            ? try deadline.waitForLock(
                "flock",
                what,
                checkCancellation: checkCancellation,
                attempt: attempt,
                call: { flock(number, shared ? LOCK_SH : LOCK_EX) }
            ) : try deadline.wait(checkCancellation: checkCancellation, until: attempt)
        guard isLocked else { throw try inUse(Failure(what, because: "another process has it")) }
        self.file = file
    }

    /// Takes the lock of a directory itself.
    public init(
        directory: borrowing Descriptor,
        shared: Bool = false,
        until deadline: Deadline,
        _ object: String,
        checkCancellation: CancellationCheck = {}
    ) throws(Failure) {
        // A descriptor of its own, since the lock belongs to the open file.
        let file = try Descriptor.open(".", .directory, at: directory.number, as: object)
        try self.init(of: file, shared: shared, until: deadline, object, checkCancellation: checkCancellation)
    }

    /// Takes the lock of a file that exists only for this.
    public init(
        _ name: String,
        in directory: borrowing Descriptor,
        until deadline: Deadline,
        mayUseSignals: Bool = true,
        _ object: String
    ) throws(Failure) {
        let options = OpenOptions.beneath(O_RDWR | O_CREAT, mode: 0o600)
        let file = try Descriptor.openFile(name, options, at: directory.number, as: "the lock of \(object)")
        try self.init(of: file, until: deadline, mayUseSignals: mayUseSignals, object)
    }

    /// Releases the lock now.
    public consuming func release() {}

    /// Runs `body` with the lock, and releases it when `body` returns or throws.
    public consuming func run<Result: ~Copyable>(
        _ body: () throws(Failure) -> Result
    ) throws(Failure) -> Result {
        do throws(Failure) {
            let result = try body()
            release()
            return result
        } catch {
            release()
            throw error
        }
    }
}
