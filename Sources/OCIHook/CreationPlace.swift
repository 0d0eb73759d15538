import CLinux
import Glibc
import Platform
import VTPMProxy

/// One of the few places for containers that get their TPMs at the same time.
///
/// The kernel gives a new TPM 2 s for TPM2_SelfTest and 750 ms for what follows (tpm2_calc_ordinal_duration), and everything
/// of ours has a deadline too. Where dozens of containers start at once on a few processors, none of them would meet any; so
/// the others wait, asleep, until it is their turn.
enum CreationPlace {
    /// How long to wait for a place, in milliseconds: less than a hook's usual timeout, so that the reason is told.
    private static let patience = 45_000

    /// Takes a place, on an open file of `/dev/vtpmx`, until that is closed.
    ///
    /// Each byte of the file stands for a place. fcntl(2), F_OFD_SETLK
    ///
    /// - Parameters:
    ///   - control: The open file, for writing.
    ///   - places: How many there are; as many as processors, and no fewer than two, so that one that waits for something
    ///     does not keep all others waiting.
    ///   - deadline: When it is given up.
    /// - Throws: ``Failure`` where there was none in time.
    static func take(
        on control: borrowing Descriptor,
        of places: Int = max(2, sysconf(CInt(_SC_NPROCESSORS_ONLN))),
        until deadline: Deadline = Deadline(milliseconds: patience)
    ) throws(Failure) {
        let what = "cannot start the vTPM"
        let number = control.number
        var pause: CInt = 5
        while true {
            for place in 0..<places {
                var lock = flock()
                lock.l_type = CShort(F_WRLCK)
                lock.l_whence = CShort(SEEK_SET)
                lock.l_start = place
                lock.l_len = 1
                do {
                    try systemCall("fcntl F_OFD_SETLK", what) { fcntl(number, clinux_f_ofd_setlk, &lock) }
                    return
                } catch let error where error.code == EAGAIN {}
            }
            guard !deadline.hasPassed else {
                throw Failure(
                    what,
                    because: "too many other containers are being created",
                    remedy: "start fewer at once, or give the hook a longer timeout"
                )
            }
            poll(nil, 0, pause)
            pause = min(pause * 2, 80)
        }
    }
}
