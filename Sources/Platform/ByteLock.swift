import CLinux
import Glibc

// Locks of single bytes of a file, each of which can stand for something else: an open file holds any number of them,
// until its last descriptor is closed. A byte need not exist. The file must be open for writing. fcntl(2), "Open file
// description locks"
extension Descriptor {
    /// Takes the lock of a byte; returns false if another open file has it.
    public borrowing func tryLock(byte: Int, _ what: @autoclosure () -> String) throws(Failure) -> Bool {
        let number = self.number
        do {
            try systemCall("fcntl F_OFD_SETLK", what()) { Self.lock(number, byte, clinux_f_ofd_setlk) }
            return true
        } catch let error where error.code == EAGAIN || error.code == EACCES {
            return false
        }
    }

    /// Takes the lock of a byte, for which it waits in the kernel; returns false if the deadline passes first.
    ///
    /// Meanwhile `checkCancellation` is called after 0.2 s, and then each second. `attempt` takes the lock, or another that
    /// will do, if it is free.
    public borrowing func lock(
        byte: Int,
        until deadline: Deadline,
        _ what: @autoclosure () -> String,
        checkCancellation: CancellationCheck,
        attempt: () throws(Failure) -> Bool
    ) throws(Failure) -> Bool {
        let number = self.number
        return try deadline.waitForLock(
            "fcntl F_OFD_SETLKW",
            what(),
            checkCancellation: checkCancellation,
            attempt: attempt,
            call: { Self.lock(number, byte, clinux_f_ofd_setlkw) }
        )
    }

    private static func lock(_ number: CInt, _ byte: Int, _ command: CInt) -> CInt {
        var lock = flock()
        lock.l_type = CShort(F_WRLCK)
        lock.l_whence = CShort(SEEK_SET)
        lock.l_start = byte
        lock.l_len = 1
        return fcntl(number, command, &lock)
    }
}
