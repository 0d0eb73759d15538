import Glibc
import Platform

/// A lock on a file or a directory, held until its owner is gone. flock(2)
///
/// Not fcntl(2)'s: that one is lost as soon as the process closes any descriptor of the file.
public struct FileLock: ~Copyable {
    private let file: Descriptor

    /// Takes a lock on an open file or directory, and waits for it until the deadline.
    ///
    /// The lock is the caller's alone or shared with others who want no more. `object` is for the error; `goesOn` is called
    /// while waiting, and throws when there is nothing to wait for any more.
    public init(
        of file: consuming Descriptor,
        shared: Bool = false,
        until deadline: Deadline,
        _ object: String,
        checking goesOn: () throws(Failure) -> Void = { () throws(Failure) in }
    ) throws(Failure) {
        let what = "cannot lock \(object)"
        let number = file.number
        var pauses = Pauses()
        while true {
            do {
                try systemCall("flock", what) { flock(number, (shared ? LOCK_SH : LOCK_EX) | LOCK_NB) }
                break
            } catch let error where error.code == EWOULDBLOCK {
                guard !deadline.hasPassed else { throw Failure(what, because: "another process has it") }
                try goesOn()
                pauses.sleep()
            }
        }
        self.file = file
    }

    /// Takes the lock of a directory itself.
    public init(
        directory: borrowing Descriptor,
        shared: Bool = false,
        until deadline: Deadline,
        _ object: String,
        checking goesOn: () throws(Failure) -> Void = { () throws(Failure) in }
    ) throws(Failure) {
        // A descriptor of its own: the lock belongs to the open file.
        let file = try Descriptor.open(".", .directory, at: directory.number, as: object)
        try self.init(of: file, shared: shared, until: deadline, object, checking: goesOn)
    }

    /// Takes the lock of a file that is there for nothing else.
    public init(
        _ name: String,
        in directory: borrowing Descriptor,
        until deadline: Deadline,
        _ object: String
    ) throws(Failure) {
        let options = OpenOptions.beneath(O_RDWR | O_CREAT, mode: 0o600)
        let file = try Descriptor.openFile(name, options, at: directory.number, as: "the lock of \(object)")
        try self.init(of: file, until: deadline, object)
    }

    /// Gives the lock back now.
    public consuming func release() {}
}
