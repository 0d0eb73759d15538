import Glibc
import Platform

/// A lock on a file that is there for nothing else, held until its owner is gone. flock(2)
///
/// Not fcntl(2)'s: that one is lost as soon as the process closes any descriptor of the file.
public struct FileLock: ~Copyable {
    private let file: Descriptor

    /// Takes the lock, alone or shared with others, and waits for it until the deadline; `object` is for the error.
    public init(
        _ name: String,
        in directory: borrowing Descriptor,
        shared: Bool = false,
        until deadline: Deadline,
        _ object: String
    ) throws(Failure) {
        let what = "cannot lock \(object)"
        let options = OpenOptions.beneath(O_RDWR | O_CREAT, mode: 0o600)
        let file = try Descriptor.open(name, options, at: directory.number, as: "the lock of \(object)")
        let number = file.number
        while true {
            do {
                try systemCall("flock", what) { flock(number, (shared ? LOCK_SH : LOCK_EX) | LOCK_NB) }
                break
            } catch let error where error.code == EWOULDBLOCK {
                guard !deadline.hasPassed else { throw Failure(what, because: "another process has it") }
                poll(nil, 0, 5)
            }
        }
        self.file = file
    }
}
