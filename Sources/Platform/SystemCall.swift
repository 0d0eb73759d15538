import Glibc

/// Makes a system call, repeats it if a signal interrupts it, and turns -1 into a ``Failure``.
///
/// It is for calls that report a failure by -1. mmap(2) and readdir(3) do not. For a few others only `errno` says
/// whether -1 is a failure, which their callers check. `close(2)` must not go through it: on Linux the descriptor is
/// gone even if `close` reports EINTR, and a second call would close somebody else's.
///
/// `name` is the call's name, and `what` says what could not be done; both are for the error's text. After the call,
/// `body` must do nothing that could change `errno`.
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
