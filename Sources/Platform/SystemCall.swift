import Glibc

/// Makes a system call, again when a signal interrupted it, and turns -1 into a ``Failure``.
///
/// It is for calls that tell a failure by -1: mmap(2) and readdir(3) do not, and a few others whose `errno` says first whether it
/// is one; those are looked at where they are made. `close(2)` must not go through it: on Linux the descriptor
/// is gone even when `close` reports EINTR, and a second call would close somebody else's.
///
/// `name` is the call's name and `what` says what could not be done if it fails, both for the error's text. `body` must
/// not do anything after the call that could change `errno`.
@discardableResult
@inlinable
public func systemCall<Value: SignedInteger>(
    _ name: String,
    _ what: @autoclosure () -> String,
    _ body: () -> Value
) throws(Failure) -> Value {
    while true {
        let value = body()
        if value != -1 { return value }
        let code = errno
        if code == EINTR { continue }
        throw Failure(what(), call: name, code: code)
    }
}
